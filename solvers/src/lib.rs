//! Pure mathematics of the feasible-first method: design spaces, the feasible set, HiGHS models,
//! scenarios, cost models, risk.
//!
//! Rule: nothing here reads a clock, draws unseeded randomness or opens a file; callers pass text and
//! bytes in and get values out. Arithmetic that decides feasibility is exact (64-bit integers), never
//! floating point. Absent on purpose: processes, actors, the journal. Start at [`space::DesignSpace`].

pub mod problem;
pub mod space;

// The feasible set: search, re-check, programs in 0-1 variables, HiGHS.
pub mod enumeration;
pub mod explain;
pub mod milp;
pub mod programs;
pub mod recheck;

// Choosing under risk: scenarios, cost models, E, VaR, CVaR, plots, the programme's own files.
pub mod ampel360;
pub mod costs;
pub mod plots;
pub mod risk;
pub mod scenarios;
pub mod selection;
