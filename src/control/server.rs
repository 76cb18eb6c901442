//! Accepts control connections on a Unix socket.
//!
//! Rule: one connection, however hostile, costs at most its slot and one frame of memory, for as long
//! as its time limits allow. Absent: what is said on a connection (conversation.rs). Start at [`serve`].

use super::conversation;
use super::service::{Caller, Service};
use super::wire::write_message;
use engine::limits::INPUT_BYTES_MAX;
use engine::protocol::{Answer, ErrorReply};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Connections served at once. The largest load known is 64 clients; four times that is a quarrel.
pub const CONNECTIONS_MAX: usize = 256;

/// Further connections that are told `busy` before they are closed; beyond them nothing is said.
pub const REFUSALS_MAX: usize = 64;

/// How long a refusal may take to be written; it fits any socket buffer.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// Pause after a failed accept: out of file descriptors does not get better by asking at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a server grants its clients.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connections_max: usize,
    /// From accept to a whole `Hello`, however slowly its bytes drip.
    pub handshake: Duration,
    /// From the first byte of a frame to its last.
    pub request: Duration,
    /// Silence between two requests.
    pub idle: Duration,
    /// Until the client has taken one frame of an answer.
    pub write: Duration,
    pub upload_bytes_max: u64,
    /// Lets a client choose the name it acts under: for a daemon that serves one person.
    pub trust_client_names: bool,
    /// Program and version, told to clients.
    pub software: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(600),
            write: Duration::from_secs(30),
            upload_bytes_max: INPUT_BYTES_MAX,
            trust_client_names: false,
            software: concat!("executingd ", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Serves until it is dropped, which drops every connection with it. Needs a `LocalSet` around it.
pub async fn serve<S: Service>(listener: UnixListener, service: S, settings: Settings) {
    let settings = Rc::new(settings);
    let open = Rc::new(Cell::new(0_usize));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => admit(stream, &service, &settings, &open, &mut tasks),
                Err(error) => {
                    tracing::warn!(%error, "A control connection could not be accepted.");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = tasks.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "A control connection ended by a panic.");
            },
        }
    }
}

fn admit<S: Service>(
    stream: UnixStream,
    service: &S,
    settings: &Rc<Settings>,
    open: &Rc<Cell<usize>>,
    tasks: &mut JoinSet<()>,
) {
    if tasks.len() >= settings.connections_max + REFUSALS_MAX {
        return;
    }
    if open.get() >= settings.connections_max {
        tasks.spawn_local(refuse(stream, settings.connections_max));
        return;
    }
    let slot = Slot::take(open);
    let (service, settings) = (service.clone(), settings.clone());
    tasks.spawn_local(async move {
        let _slot = slot;
        conversation::hold(stream, service, &settings).await;
    });
}

async fn refuse(mut stream: UnixStream, max: usize) {
    let error = refusal("EX-0009", 75, format!("all {max} control connections are taken"));
    // The client may be gone already; there is nobody else to tell.
    let _ = timeout(REFUSAL_MAX, write_message(&mut stream, &Answer::Error { error })).await;
}

/// A connection's place among those served; given back even if its task panics.
struct Slot(Rc<Cell<usize>>);

impl Slot {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A refusal without single problems.
pub(super) fn refusal(code: &str, exit: u8, message: impl Into<String>) -> ErrorReply {
    ErrorReply { code: code.into(), message: message.into(), exit, problems: Vec::new() }
}

/// Who is at the other end, as the kernel says it.
pub(super) fn peer(stream: &UnixStream) -> std::io::Result<Caller> {
    let uid = stream.peer_cred()?.uid();
    Ok(Caller { name: name_of(uid), role: role_of(uid).into() })
}

fn name_of(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => format!("uid:{uid}"),
    }
}

/// Root and the daemon's own user administer; whoever else may open the socket operates.
fn role_of(uid: u32) -> &'static str {
    if uid == 0 || uid == nix::unistd::geteuid().as_raw() { "admin" } else { "operator" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_daemons_user_administer_and_a_stranger_operates() {
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!((role_of(0), role_of(own)), ("admin", "admin"));
        assert_eq!(role_of(own.wrapping_add(4_321)), "operator");
    }

    #[test]
    fn a_user_that_the_machine_does_not_know_has_its_number_for_a_name() {
        assert_eq!(name_of(4_000_000_123), "uid:4000000123");
        assert_eq!(name_of(0), "root");
    }
}
