//! Progress on stderr for what takes longer than a second: a bar, or a spinner where no end is known.
//!
//! Rule: nothing where stderr is no terminal, and nothing for what is over sooner.

use engine::protocol::ErrorReply;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// What is over sooner needs no bar.
const BAR_AFTER: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(200);

/// Progress on stderr, for what takes longer than a second; hidden where stderr is no terminal.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    begun: Instant,
    total: u64,
    style: &'static str,
    shown: bool,
    name: String,
}

impl Bar {
    fn new(total: u64, style: &'static str) -> Self {
        Self {
            bar: ProgressBar::hidden(),
            begun: Instant::now(),
            total,
            style,
            shown: false,
            name: String::new(),
        }
    }

    pub fn of_bytes(total: u64) -> Self {
        Self::new(total, "{msg}{bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    pub fn of_records(total: u64) -> Self {
        Self::new(total, "{bar:32} {pos}/{len} records {eta}")
    }

    pub fn spinner(what: &'static str) -> Self {
        let mut bar = Self::new(0, "{spinner} {msg} {elapsed}");
        bar.show();
        bar.bar.set_message(what);
        bar
    }

    fn show(&mut self) {
        self.shown = true;
        let style = ProgressStyle::with_template(self.style).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar = ProgressBar::new(self.total).with_style(style);
        if !self.name.is_empty() {
            self.bar.set_message(format!("{} ", self.name));
        }
        self.bar.enable_steady_tick(TICK);
    }

    /// Says what it is about, once it is shown.
    pub fn name(&mut self, name: &str) {
        self.name = name.to_owned();
    }

    pub fn set(&mut self, position: u64) {
        if !self.shown && self.begun.elapsed() > BAR_AFTER {
            self.show();
        }
        self.bar.set_position(position);
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A spinner beside something that takes long, from the second second on.
pub async fn with_spinner<T>(
    what: &'static str,
    work: impl Future<Output = Result<T, ErrorReply>>,
) -> Result<T, ErrorReply> {
    let mut work = std::pin::pin!(work);
    if let Ok(done) = tokio::time::timeout(BAR_AFTER, &mut work).await {
        return done;
    }
    let bar = Bar::spinner(what);
    let done = work.await;
    bar.finish();
    done
}

/// Counts what is written through it.
#[derive(Debug)]
pub struct Counted<'w, W: Write> {
    pub to: &'w mut W,
    pub bar: Bar,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        let position = self.bar.bar.position() + written as u64;
        self.bar.set(position);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Counts what is read through it.
#[derive(Debug)]
pub struct CountedRead<R: Read> {
    pub from: R,
    pub bar: Bar,
}

impl<R: Read> Read for CountedRead<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(into)?;
        let position = self.bar.bar.position() + read as u64;
        self.bar.set(position);
        Ok(read)
    }
}
