//! One signed request and its answer.
//!
//! Rule: what is known to have happened decides the class of an error. Nothing was sent: transient. An answer
//! came: its status says it. Anything between, for a call that changes something: ambiguous.

use super::{BraketOptions, CredentialsFile};
use crate::backends::BackendError;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use std::time::{Duration, SystemTime};

/// Longest wait for a connection, and for the whole answer.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const REPLY_WAIT: Duration = Duration::from_secs(30);
/// A hundred thousand shots of a hundred qubits as lists of bits are about 20 MB.
const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// When to ask again after a device is said to be off.
const OFFLINE_MS: u64 = 60_000;

/// Whose signature it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Braket,
    S3,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub service: Service,
    pub method: &'static str,
    /// Path with its parts percent-encoded.
    pub path: String,
    pub body: Vec<u8>,
    /// Whether something may have happened over there although no answer came.
    pub changes: bool,
}

/// What came back.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: u16,
    /// The vendor's name of an error.
    pub kind: String,
    pub retry_after_ms: Option<u64>,
    pub body: Vec<u8>,
}

/// Keeps connections open between calls.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    agent: ureq::Agent,
}

impl Wire {
    pub(super) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_global(Some(REPLY_WAIT))
            .max_redirects(0)
            .user_agent("executing")
            .build();
        Self { agent: config.new_agent() }
    }

    /// Sends the request and waits for the answer, whatever its status.
    pub(super) fn send(&self, options: &BraketOptions, request: &Request) -> Result<Reply, BackendError> {
        let backend = || options.name.clone();
        let nothing =
            |message: String| BackendError::Transient { backend: backend(), message, after_ms: None };
        let endpoint = match request.service {
            Service::Braket => &options.endpoint,
            Service::S3 => &options.s3_endpoint,
        };
        let url = format!("{}{}", endpoint.trim_end_matches('/'), request.path);
        let signed = signed_headers(&options.credentials, &options.region, request, &url)
            .map_err(|message| BackendError::Permanent { backend: backend(), message })?;
        let mut builder = ureq::http::Request::builder().method(request.method).uri(&url);
        if request.service == Service::Braket {
            builder = builder.header("content-type", "application/json");
        }
        for (name, value) in signed {
            builder = builder.header(name, value);
        }
        let whole = builder.body(request.body.clone()).map_err(|error| nothing(error.to_string()))?;
        let mut answer = self.agent.run(whole).map_err(|error| self.unanswered(options, request, &error))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        // "ThrottlingException:http://internal.amazon.com/.." is how some answers name it.
        let kind = header("x-amzn-errortype").and_then(|kind| kind.split(':').next()).unwrap_or_default();
        let kind = kind.to_owned();
        let seconds = header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
        let status = answer.status().as_u16();
        let read = answer.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec();
        let body = read.map_err(|error| self.unanswered(options, request, &error))?;
        Ok(Reply { status, kind, retry_after_ms: seconds.map(|s| s.saturating_mul(1_000)), body })
    }

    fn unanswered(&self, options: &BraketOptions, request: &Request, error: &ureq::Error) -> BackendError {
        let (backend, message) = (options.name.clone(), error.to_string());
        let unsent = match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_) => true,
            ureq::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        if unsent || !request.changes {
            BackendError::Transient { backend, message, after_ms: None }
        } else {
            BackendError::Ambiguous { backend, message }
        }
    }
}

fn signed_headers(
    credentials: &CredentialsFile,
    region: &str,
    request: &Request,
    url: &str,
) -> Result<Vec<(String, String)>, String> {
    let keys = credentials.read().map_err(|error| error.to_string())?;
    let identity = Credentials::new(keys.id, keys.secret, keys.token, None, "file").into();
    let mut settings = SigningSettings::default();
    let name = match request.service {
        Service::Braket => "braket",
        Service::S3 => {
            settings.percent_encoding_mode = PercentEncodingMode::Single;
            settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
            "s3"
        }
    };
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(name)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let typed: &[(&str, &str)] = match request.service {
        Service::Braket => &[("content-type", "application/json")],
        Service::S3 => &[],
    };
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(request.method, url, typed.iter().copied(), body)
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params).map_err(|error| error.to_string())?.into_parts();
    let (headers, _) = instructions.into_parts();
    Ok(headers.iter().map(|header| (header.name().to_owned(), header.value().to_owned())).collect())
}

/// The class of an answer that is not a success.
pub(super) fn classify(backend: &str, request: &Request, reply: &Reply) -> BackendError {
    let backend = backend.to_owned();
    let words: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let said = words["message"].as_str().or(words["Message"].as_str()).unwrap_or_default();
    let message =
        format!("{} {}: {said:.300}", reply.status, reply.kind).trim_end_matches([':', ' ']).to_owned();
    let after_ms = reply.retry_after_ms;
    match reply.status {
        // The device may be on again soon; who cannot wait turns to another backend.
        424 => BackendError::Transient { backend, message, after_ms: after_ms.or(Some(OFFLINE_MS)) },
        429 => BackendError::Transient { backend, message, after_ms },
        // Temporary keys that ran out are renewed by whoever writes the file, which is read at each call.
        403 if reply.kind.starts_with("ExpiredToken") => {
            let message = format!("EX-0488: the keys have expired: {message}");
            BackendError::Transient { backend, message, after_ms }
        }
        401 | 403 => {
            let message = format!("EX-0488: the vendor refuses the keys: {message}");
            BackendError::Permanent { backend, message }
        }
        400..=499 => BackendError::Permanent { backend, message },
        _ if request.changes => BackendError::Ambiguous { backend, message },
        _ => BackendError::Transient { backend, message, after_ms },
    }
}

/// A part of a path: everything but unreserved characters is encoded.
pub(super) fn encoded(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}
