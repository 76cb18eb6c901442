//! Client and server over a real Unix socket, with a small service behind it.

use engine::limits::UPLOAD_CHUNK_BYTES;
use engine::protocol::{Answer, CONTROL_PROTOCOL, ErrorReply, Hello, Request};
use executing::control::client::Options;
use executing::control::frame::{self, FrameReader};
use executing::control::{Caller, Client, ClientError, Reply, Service, Settings, UploadSink, serve};
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Keeps uploads in memory; `Tree` says who asks, `Follow` never ends, `Artifact` gives an upload back.
#[derive(Clone)]
struct Shelf {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    directory: PathBuf,
    /// One sender per open stream; closed when the server drops the stream.
    streams: Rc<RefCell<Vec<tokio::sync::mpsc::UnboundedSender<Value>>>>,
}

struct Sink {
    digest: String,
    content: Vec<u8>,
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
}

impl UploadSink for Sink {
    fn write(&mut self, chunk: &[u8]) -> Result<(), ErrorReply> {
        self.content.extend_from_slice(chunk);
        if self.content.starts_with(b"poison") { Err(no("EX-0013", 75)) } else { Ok(()) }
    }

    fn finish(self: Box<Self>) -> LocalBoxFuture<'static, Result<Value, ErrorReply>> {
        async move {
            let found = digest(&self.content);
            if found != self.digest {
                return Err(no("EX-0017", 8));
            }
            let bytes = self.content.len();
            self.files.borrow_mut().insert(found, self.content);
            Ok(json!({"bytes": bytes}))
        }
        .boxed_local()
    }
}

impl Service for Shelf {
    fn call(&self, who: Caller, request: Request) -> LocalBoxFuture<'static, Result<Reply, ErrorReply>> {
        let shelf = self.clone();
        async move {
            match request {
                Request::Have { digest } => {
                    Ok(Reply::Data(json!({"have": shelf.files.borrow().contains_key(&digest)})))
                }
                Request::Upload { digest, .. } => Ok(Reply::ReceiveUpload(Box::new(Sink {
                    digest,
                    content: Vec::new(),
                    files: shelf.files.clone(),
                }))),
                Request::Artifact { name, .. } => {
                    let content = shelf.files.borrow().get(&name).cloned().ok_or_else(|| no("EX-0016", 3))?;
                    let path = shelf.directory.join("artefact");
                    std::fs::write(&path, &content).unwrap();
                    Ok(Reply::File { path, bytes: content.len() as u64 })
                }
                // Says one byte more than there is.
                Request::Result { run } => {
                    let path = shelf.directory.join(run);
                    std::fs::write(&path, b"short").unwrap();
                    Ok(Reply::File { path, bytes: 6 })
                }
                Request::Follow { .. } => {
                    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
                    sender.send(json!({"position": 1})).unwrap();
                    shelf.streams.borrow_mut().push(sender);
                    let items = futures::stream::unfold(receiver, |mut receiver| async move {
                        Some((Ok(receiver.recv().await?), receiver))
                    });
                    Ok(Reply::Items(items.boxed_local()))
                }
                Request::Events { .. } => {
                    let items = vec![Ok(json!(1)), Ok(json!(2))];
                    Ok(Reply::Items(futures::stream::iter(items).boxed_local()))
                }
                Request::Tree => Ok(Reply::Data(json!({"name": who.name, "role": who.role}))),
                Request::Backends => Ok(Reply::Data(json!("x".repeat(2 * 1024 * 1024)))),
                _ => Err(no("EX-0003", 3)),
            }
        }
        .boxed_local()
    }
}

fn no(code: &str, exit: u8) -> ErrorReply {
    ErrorReply { code: code.into(), message: "no".into(), exit, problems: Vec::new() }
}

fn digest(content: &[u8]) -> String {
    format!("b3:{}", blake3::hash(content).to_hex())
}

/// Runs a test against a server with these settings.
fn with<F: Future<Output = ()>>(settings: Settings, test: impl FnOnce(Options, Shelf) -> F) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let shelf =
            Shelf { files: Rc::default(), directory: directory.path().to_owned(), streams: Rc::default() };
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::task::spawn_local(serve(listener, shelf.clone(), settings));
        let mut options = Options::new(Some(socket));
        options.timeout = Duration::from_secs(20);
        test(options, shelf).await;
    });
}

async fn works(options: &Options) {
    let mut client = Client::connect(options).await.unwrap();
    assert!(client.request(&Request::Tree).await.unwrap()["name"].is_string());
}

/// All that the server says to these bytes before it closes the connection.
async fn said_to(options: &Options, bytes: &[u8]) -> Vec<Answer> {
    let mut stream = UnixStream::connect(&options.socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let (mut said, mut buffer) = (Vec::new(), [0; 4096]);
    // A connection closed with bytes unread ends in a reset, which is an end too.
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..read]);
    }
    let mut reader = FrameReader::new(1024 * 1024);
    reader.push(&said);
    let mut answers = Vec::new();
    while let Some(frame) = reader.next().unwrap() {
        answers.extend(frame.message::<Answer>());
    }
    answers
}

fn hello(protocol: u16) -> Vec<u8> {
    let hello = Hello { protocol, software: "test".into(), principal: None };
    frame::encode_message(&hello).unwrap()
}

fn code(answers: &[Answer]) -> &str {
    match answers {
        [Answer::Error { error }] => &error.code,
        other => panic!("expected one error, got {other:?}"),
    }
}

#[test]
fn garbage_gets_one_error_and_a_closed_connection_and_others_go_on() {
    with(Settings::default(), |options, _| async move {
        let mut client = Client::connect(&options).await.unwrap();
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0", b"EXC1?", b"EXC1J\x01\0\0\0{"] {
            assert_eq!(code(&said_to(&options, bytes).await), "EX-0008", "{bytes:?}");
            let late = [hello(CONTROL_PROTOCOL), bytes.to_vec()].concat();
            assert_eq!(code(&said_to(&options, &late).await), "EX-0008", "after the greeting: {bytes:?}");
        }
        assert!(client.request(&Request::Tree).await.is_ok());
    });
}

#[test]
fn a_frame_of_four_gibibytes_is_refused_by_its_header() {
    with(Settings::default(), |options, _| async move {
        let header = b"EXC1J\xff\xff\xff\xff";
        assert_eq!(code(&said_to(&options, header).await), "EX-0007");
        let late = [hello(CONTROL_PROTOCOL), header.to_vec()].concat();
        assert_eq!(code(&said_to(&options, &late).await), "EX-0007");
        works(&options).await;
    });
}

#[test]
fn a_stranger_may_not_send_as_much_as_a_guest() {
    with(Settings::default(), |options, _| async move {
        // 64 KiB fit a frame, but not a greeting.
        assert_eq!(code(&said_to(&options, b"EXC1J\0\0\x01\0").await), "EX-0007");
    });
}

#[test]
fn a_greeting_that_drips_is_cut_off_at_the_limit() {
    let settings = Settings { handshake: Duration::from_millis(100), ..Settings::default() };
    with(settings, |options, _| async move {
        let mut stream = UnixStream::connect(&options.socket).await.unwrap();
        let mut left = 0;
        for byte in hello(CONTROL_PROTOCOL) {
            if stream.write_all(&[byte]).await.is_err() {
                left = 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(left, 1, "the whole greeting was taken, although it took longer than allowed");
        assert_eq!(code(&said_to(&options, b"EX").await), "EX-0010");
        works(&options).await;
    });
}

#[test]
fn another_version_of_the_protocol_is_refused_with_both_versions() {
    with(Settings::default(), |options, _| async move {
        assert_eq!(code(&said_to(&options, &hello(CONTROL_PROTOCOL + 1)).await), "EX-0006");
    });
}

#[test]
fn two_clients_at_once_get_their_own_answers() {
    with(Settings::default(), |options, _| async move {
        let mut first = Client::connect(&options).await.unwrap();
        let mut second = Client::connect(&options).await.unwrap();
        let (page, run) = (Request::Events { run: "r".into(), from: 0 }, Request::Show { run: "r".into() });
        let (one, two) = tokio::join!(first.request(&page), second.request(&run));
        assert_eq!(one.unwrap(), json!([1, 2]));
        assert_eq!(two.unwrap_err().into_reply().exit, 3);
        // A refusal does not end the connection.
        assert_eq!(second.request(&page).await.unwrap(), json!([1, 2]));
    });
}

#[test]
fn five_mebibytes_come_back_as_they_went() {
    with(Settings::default(), |options, shelf| async move {
        let content: Vec<u8> =
            (0..5 * 1024 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(content.len() > 2 * UPLOAD_CHUNK_BYTES);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&content).unwrap();
        let mut client = Client::connect(&options).await.unwrap();
        let sent = client.upload(file.path()).await.unwrap();
        assert_eq!(sent, digest(&content));
        assert!(shelf.files.borrow().contains_key(&sent));
        let mut back = Vec::new();
        let request = Request::Artifact { run: "r".into(), name: sent.clone() };
        assert_eq!(client.download(&request, &mut back).await.unwrap(), content.len() as u64);
        assert_eq!(digest(&back), sent);
        // The daemon has it, so it is not sent again: a poisoned shelf would refuse it.
        assert_eq!(client.upload_bytes(&content).await.unwrap(), sent);
        assert_eq!(client.upload_bytes(b"").await.unwrap(), digest(b""));
    });
}

#[test]
fn a_refused_upload_says_why_and_the_connection_goes_on() {
    with(Settings::default(), |options, _| async move {
        let mut client = Client::connect(&options).await.unwrap();
        let mut content = vec![0; 3 * UPLOAD_CHUNK_BYTES];
        content[..6].copy_from_slice(b"poison");
        assert_eq!(client.upload_bytes(&content).await.unwrap_err().into_reply().code, "EX-0013");
        assert!(client.request(&Request::Tree).await.is_ok());
    });
}

#[test]
fn an_upload_beyond_the_limit_is_refused_by_its_announcement() {
    let settings = Settings { upload_bytes_max: 10, ..Settings::default() };
    with(settings, |options, _| async move {
        let announced = Request::Upload { digest: digest(b""), bytes: u64::MAX };
        let bytes = [hello(CONTROL_PROTOCOL), frame::encode_message(&announced).unwrap()].concat();
        assert_eq!(code(&said_to(&options, &bytes).await), "EX-0007");
    });
}

#[test]
fn a_file_shorter_than_recorded_is_an_error_and_no_short_answer() {
    with(Settings::default(), |options, _| async move {
        let mut client = Client::connect(&options).await.unwrap();
        let mut back = Vec::new();
        let error = client.download(&Request::Result { run: "r".into() }, &mut back).await.unwrap_err();
        assert_eq!(error.into_reply().code, "EX-0017");
    });
}

#[test]
fn an_answer_too_large_for_a_frame_is_an_error_and_no_broken_frame() {
    with(Settings::default(), |options, _| async move {
        let mut client = Client::connect(&options).await.unwrap();
        assert_eq!(client.request(&Request::Backends).await.unwrap_err().into_reply().code, "EX-0007");
    });
}

#[test]
fn connections_beyond_the_limit_are_told_busy_and_a_freed_place_is_given_again() {
    let settings = Settings { connections_max: 3, ..Settings::default() };
    with(settings, |options, _| async move {
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(Client::connect(&options).await.unwrap());
        }
        let refused = Client::connect(&options).await.unwrap_err().into_reply();
        assert_eq!((refused.code.as_str(), refused.exit), ("EX-0009", 75));
        assert!(open[0].request(&Request::Tree).await.is_ok());
        open.clear();
        let again = async {
            while Client::connect(&options).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), again).await.expect("a place becomes free");
    });
}

#[test]
fn a_client_that_hangs_up_drops_its_stream() {
    with(Settings::default(), |options, shelf| async move {
        let client = Client::connect(&options).await.unwrap();
        let mut items = client.stream(&Request::Follow { run: "r".into(), from: 0 }).await.unwrap();
        assert_eq!(items.next().await.unwrap(), Some(json!({"position": 1})));
        let sender = shelf.streams.borrow()[0].clone();
        assert!(!sender.is_closed());
        drop(items);
        let closed = tokio::time::timeout(Duration::from_secs(20), sender.closed());
        closed.await.expect("the stream is dropped");
    });
}

#[test]
fn a_name_may_be_chosen_only_where_the_daemon_trusts_its_clients() {
    let trusting = Settings { trust_client_names: true, ..Settings::default() };
    with(trusting, |mut options, _| async move {
        options.principal = Some("ada".into());
        let mut client = Client::connect(&options).await.unwrap();
        assert_eq!(client.request(&Request::Tree).await.unwrap(), json!({"name": "ada", "role": "admin"}));
        options.principal = Some("a\nb".into());
        assert_eq!(Client::connect(&options).await.unwrap_err().into_reply().exit, 4);
    });
    with(Settings::default(), |mut options, _| async move {
        options.principal = Some("ada".into());
        assert_eq!(Client::connect(&options).await.unwrap_err().into_reply().exit, 4);
        options.principal = None;
        let mut client = Client::connect(&options).await.unwrap();
        let who = client.request(&Request::Tree).await.unwrap();
        assert_ne!(who["name"], "ada");
        options.principal = who["name"].as_str().map(str::to_owned);
        works(&options).await;
    });
}

#[test]
fn a_socket_without_a_daemon_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = Options::new(Some(directory.path().join("none.sock")));
        let error = Client::connect(&options).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert_eq!(error.into_reply().exit, 6);
    });
}

#[test]
fn a_daemon_that_says_nothing_is_a_timeout() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = directory.path().join("mute.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut options = Options::new(Some(socket));
        options.timeout = Duration::from_millis(50);
        assert_eq!(Client::connect(&options).await.unwrap_err().into_reply().exit, 7);
    });
}
