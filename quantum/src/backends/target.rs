//! What a backend says about itself.

use super::{JobSpec, JobWork};
use serde::{Deserialize, Serialize};

/// What kinds of call a backend honours; absence changes what recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// A second submit with the same key gives the same job.
    pub idempotent_submit: bool,
    /// Jobs can be looked up by key (or by a tag that holds it).
    pub find: bool,
    pub cancel: bool,
    /// Takes circuits in OpenQASM 3, and QAOA over a listed set of designs.
    pub openqasm3: bool,
    pub feasible_set: bool,
}

/// When and as what a machine was last calibrated; results are only comparable within one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calibration {
    pub id: String,
    /// Milliseconds since 1970-01-01 UTC, as the vendor says.
    pub time_ms: u64,
}

/// Money in millionths of a US dollar: whole numbers, so that budgets add up exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Price {
    pub job_micro_usd: u64,
    pub shot_micro_usd: u64,
    pub qpu_second_micro_usd: u64,
}

/// What waits there at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Queue {
    pub jobs: Option<u64>,
    /// The vendor's guess of the wait.
    pub wait_ms: Option<u64>,
}

/// A backend as it describes itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// Whether results come from a simulation; reports say so.
    pub simulated: bool,
    /// Most qubits of a circuit, most designs of a listed set, most shots of a job.
    pub qubits_max: u32,
    pub designs_max: u64,
    pub shots_max: u32,
    /// Names of the native gates, for the record.
    pub gates: Vec<String>,
    pub capability: Capability,
    pub price: Price,
    pub calibration: Option<Calibration>,
    pub queue: Queue,
}

/// What one job would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Estimate {
    pub shots: u64,
    pub qpu_ms: u64,
    pub cost_micro_usd: u64,
    /// Wait in the queue, where known.
    pub wait_ms: Option<u64>,
}

impl Price {
    /// Price of one job; saturates, so that an absurd job costs too much rather than little.
    pub fn of(&self, shots: u64, qpu_ms: u64) -> u64 {
        // Rounded up: a budget must not be undercut by fractions.
        let seconds = u128::from(self.qpu_second_micro_usd) * u128::from(qpu_ms);
        let seconds = u64::try_from(seconds.div_ceil(1000)).unwrap_or(u64::MAX);
        self.job_micro_usd.saturating_add(self.shot_micro_usd.saturating_mul(shots)).saturating_add(seconds)
    }
}

/// Why `target` cannot take a job, if it cannot.
pub fn unfit(target: &Target, job: &JobSpec) -> Option<String> {
    let name = &target.name;
    if job.shots == 0 || job.shots > target.shots_max {
        return Some(format!(
            "{name} takes 1 to {} shots, this job asks for {}",
            target.shots_max, job.shots
        ));
    }
    match &job.work {
        JobWork::OpenQasm3 { .. } if !target.capability.openqasm3 => {
            Some(format!("{name} takes no circuits in OpenQASM 3"))
        }
        JobWork::OpenQasm3 { qubits, .. } if *qubits > target.qubits_max => {
            Some(format!("{name} has {} qubits, this job needs {qubits}", target.qubits_max))
        }
        JobWork::FeasibleSet { .. } if !target.capability.feasible_set => {
            Some(format!("{name} takes circuits only, not QAOA over a listed set of designs"))
        }
        JobWork::FeasibleSet { costs, .. } if costs.len() as u64 > target.designs_max => {
            Some(format!("{name} takes {} designs at most, this set has {}", target.designs_max, costs.len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Price;

    #[test]
    fn a_price_rounds_up_and_never_wraps() {
        let price = Price { job_micro_usd: 300_000, shot_micro_usd: 350, qpu_second_micro_usd: 1_600_000 };
        assert_eq!(price.of(1000, 0), 650_000);
        assert_eq!(price.of(0, 1), 300_000 + 1_600);
        assert_eq!(Price { qpu_second_micro_usd: 1, ..Price::default() }.of(0, 1), 1);
        assert_eq!(price.of(u64::MAX, 1), u64::MAX);
        assert_eq!(Price { qpu_second_micro_usd: u64::MAX, ..price }.of(1, u64::MAX), u64::MAX);
    }
}
