//! Logs to stderr, metrics in Prometheus form on a loopback port.

use metrics_exporter_prometheus::PrometheusBuilder;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use tracing_subscriber::EnvFilter;

/// Upper bounds of the latency histogram in seconds: from a trivial run to a day.
const LATENCY_BUCKETS_SECONDS: [f64; 12] =
    [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1_800.0, 14_400.0, 86_400.0];

/// Stderr whose failures nobody hears: a full disk under the log must not end the daemon.
struct Forgiving(std::io::Stderr);

impl std::io::Write for Forgiving {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let _ = self.0.flush();
        Ok(())
    }
}

/// Starts logging. `RUST_LOG` wins over the settings.
pub fn start_logging(filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Forgiving(std::io::stderr()))
        .log_internal_errors(false)
        // Colours are for people; a log file or journald gets plain text.
        .with_ansi(std::io::stderr().is_terminal());
    if let Err(error) = logging.try_init() {
        eprintln!("logging was started before: {error}");
    }
}

/// Serves metrics on a free loopback port and writes its address to `metrics.addr` in `state`.
///
/// # Errors
/// If no port is free or the file cannot be written.
pub fn start_metrics(state: &Path) -> Result<SocketAddr, String> {
    // The exporter cannot say which port it got, so a free one is found first; loopback only.
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
    let address = probe.local_addr().map_err(|e| e.to_string())?;
    drop(probe);
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets(&LATENCY_BUCKETS_SECONDS)
        .and_then(PrometheusBuilder::install)
        .map_err(|e| e.to_string())?;
    std::fs::write(state.join("metrics.addr"), format!("{address}\n")).map_err(|e| e.to_string())?;
    describe();
    Ok(address)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(
        "executing_throughput_designs_per_hour",
        "Feasible designs found per hour of runs that ended."
    );
    describe_histogram!("executing_run_latency_seconds", "From submission to the end of a run.");
    describe_gauge!("executing_resource_efficiency_ratio", "Seconds of stage work per second of run time.");
    describe_gauge!("executing_success_rate_ratio", "Succeeded runs among those that ended.");
    describe_gauge!("executing_error_rate_ratio", "Failed attempts among all attempts.");
    describe_gauge!("executing_queue_depth", "Stages that wait for a resource.");
    describe_counter!("executing_journal_fsyncs_total", "Commits of the journal since start.");
    for rate in [
        "executing_throughput_designs_per_hour",
        "executing_resource_efficiency_ratio",
        "executing_success_rate_ratio",
        "executing_error_rate_ratio",
    ] {
        metrics::gauge!(rate).set(0.0);
    }
}
