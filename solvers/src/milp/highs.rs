//! HiGHS beyond the `highs` crate: reading files, what it says while it works, and how it is stopped.
//!
//! Rule: all `unsafe` of the solvers that concerns HiGHS stands here, each with its reason; nothing here
//! decides whether an answer is right. The callback only reads a flag and hands on copies, so it can
//! neither panic nor wait. Start at [`Ear::solve`] and [`Instance`].

#![allow(unsafe_code)]

use highs::{Model, SolvedModel};
use highs_sys as ffi;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

/// What HiGHS says while it works.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// A better solution than before: values of all columns, as HiGHS has them.
    Improved { values: Vec<f64>, bound: f64, gap: f64, nodes: i64 },
    /// How far the tree search is.
    Search { bound: f64, gap: f64, nodes: i64 },
}

/// Shared with the callback for as long as the instance lives.
#[derive(Debug)]
struct Shared {
    stop: Arc<AtomicBool>,
    events: Option<Sender<Event>>,
    /// Warnings and errors in HiGHS's own words.
    words: Mutex<Vec<String>>,
}

/// Most warnings kept; a file that is wrong everywhere says so in its first lines.
const WORDS_MAX: usize = 100;

/// `HighsLogType::kWarning` and `kError` of HiGHS's log types.
const LOG_WARNING: c_int = 4;

/// # Safety
/// HiGHS calls it with `data` as it was given to `Highs_setCallback`: a [`Shared`] that outlives the
/// instance. `out` is valid for the call; `input` is null for log lines.
unsafe extern "C" fn heard(
    kind: c_int,
    message: *const c_char,
    out: *const ffi::HighsCallbackDataOut,
    input: *mut ffi::HighsCallbackDataIn,
    data: *mut c_void,
) {
    // SAFETY: see above; only shared references are made, and `Shared` is Sync.
    let (shared, out) = unsafe {
        let Some(shared) = (data as *const Shared).as_ref() else { return };
        let Some(out) = out.as_ref() else { return };
        (shared, out)
    };
    match kind {
        ffi::kHighsCallbackLogging if out.log_type >= LOG_WARNING && !message.is_null() => {
            // SAFETY: HiGHS passes a string closed by zero.
            let words = unsafe { CStr::from_ptr(message) }.to_string_lossy().trim().to_string();
            if let Ok(mut kept) = shared.words.lock()
                && kept.len() < WORDS_MAX
            {
                kept.push(words);
            }
        }
        ffi::kHighsCallbackMipImprovingSolution => {
            let size = usize::try_from(out.mip_solution_size).unwrap_or(0);
            if let Some(events) = &shared.events
                && !out.mip_solution.is_null()
            {
                // SAFETY: HiGHS says how many values it holds at the pointer; they are copied at once.
                let values = unsafe { std::slice::from_raw_parts(out.mip_solution, size) }.to_vec();
                let event = Event::Improved {
                    values,
                    bound: out.mip_dual_bound,
                    gap: out.mip_gap,
                    nodes: out.mip_node_count,
                };
                // Nobody listens any more: then nobody misses it.
                let _ = events.send(event);
            }
        }
        ffi::kHighsCallbackMipLogging => {
            if let Some(events) = &shared.events {
                let _ = events.send(Event::Search {
                    bound: out.mip_dual_bound,
                    gap: out.mip_gap,
                    nodes: out.mip_node_count,
                });
            }
        }
        _ => {}
    }
    if shared.stop.load(Ordering::Relaxed) {
        // SAFETY: where HiGHS passes an input it is valid for the call and ours to write.
        if let Some(input) = unsafe { input.as_mut() } {
            input.user_interrupt = 1;
        }
    }
}

/// A linear program as HiGHS holds it, by rows.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Linear {
    pub maximise: bool,
    pub offset: f64,
    pub costs: Vec<f64>,
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    pub row_lower: Vec<f64>,
    pub row_upper: Vec<f64>,
    /// One more than rows.
    pub starts: Vec<i32>,
    pub indices: Vec<i32>,
    pub values: Vec<f64>,
    pub integrality: Vec<i32>,
}

/// Hears what an instance says, and tells it to stop.
#[derive(Debug)]
pub(crate) struct Ear {
    // Boxed: HiGHS keeps its address.
    shared: Box<Shared>,
}

impl Ear {
    /// `stop` ends a run at the next callback; `events` hears incumbents.
    pub fn new(stop: Arc<AtomicBool>, events: Option<Sender<Event>>) -> Ear {
        Ear { shared: Box::new(Shared { stop, events, words: Mutex::new(Vec::new()) }) }
    }

    /// Warnings and errors said so far.
    pub fn words(&self) -> Vec<String> {
        self.shared.words.lock().map(|w| w.clone()).unwrap_or_default()
    }

    /// # Safety
    /// `highs` is a live instance, and the ear lives until the instance ends or is told to be silent.
    unsafe fn listen(&self, highs: *mut c_void) -> Result<(), String> {
        let data: *const Shared = &*self.shared;
        // SAFETY: see above; the names end with zero; the callback never writes through `data`.
        unsafe {
            // Log lines reach the callback only while output is on; none reaches the terminal.
            good("an option", ffi::Highs_setBoolOptionValue(highs, c"log_to_console".as_ptr(), 0))?;
            good("an option", ffi::Highs_setBoolOptionValue(highs, c"output_flag".as_ptr(), 1))?;
            good("the callback", ffi::Highs_setCallback(highs, Some(heard), data.cast_mut().cast()))?;
            for kind in [
                ffi::kHighsCallbackLogging,
                ffi::kHighsCallbackSimplexInterrupt,
                ffi::kHighsCallbackIpmInterrupt,
                ffi::kHighsCallbackMipImprovingSolution,
                ffi::kHighsCallbackMipLogging,
                ffi::kHighsCallbackMipInterrupt,
            ] {
                good("a callback", ffi::Highs_startCallback(highs, kind))?;
            }
        }
        Ok(())
    }

    /// Solves `model` while listening.
    pub fn solve(&self, mut model: Model) -> Result<SolvedModel, String> {
        // SAFETY: the model owns a live instance; it is silenced below, or ends here when it fails.
        unsafe { self.listen(model.as_mut_ptr())? };
        let mut solved =
            model.try_solve().map_err(|status| format!("{status:?}: {}", self.words().join("; ")))?;
        // SAFETY: the instance is alive; without a callback it keeps no address of ours.
        let status = unsafe { ffi::Highs_setCallback(solved.as_mut_ptr(), None, std::ptr::null_mut()) };
        good("silence", status)?;
        Ok(solved)
    }
}

fn good(what: &str, status: ffi::HighsInt) -> Result<(), String> {
    if status == ffi::STATUS_ERROR { Err(format!("{what} was refused")) } else { Ok(()) }
}

/// Nodes of the tree search of a solved model.
pub(crate) fn nodes(solved: &SolvedModel) -> u64 {
    let mut value = 0;
    // SAFETY: the instance is alive, the name ends with zero, the value is ours.
    let status =
        unsafe { ffi::Highs_getInt64InfoValue(solved.as_ptr(), c"mip_node_count".as_ptr(), &mut value) };
    if status == ffi::STATUS_OK { u64::try_from(value).unwrap_or(0) } else { 0 }
}

/// An instance of our own, for reading files; destroyed when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    highs: *mut c_void,
    // Dropped after `Drop::drop` has destroyed the instance.
    ear: Ear,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: the pointer came from Highs_create and is used nowhere after this.
        unsafe { ffi::Highs_destroy(self.highs) }
    }
}

impl Instance {
    /// A quiet instance that keeps even the smallest coefficients it can.
    pub fn new() -> Result<Instance, String> {
        // SAFETY: create has no preconditions; a null pointer is checked before use.
        let highs = unsafe { ffi::Highs_create() };
        if highs.is_null() {
            return Err("HiGHS could not start".to_string());
        }
        let instance = Instance { highs, ear: Ear::new(Arc::default(), None) };
        // SAFETY: the instance is alive and its ear outlives it; the name ends with zero. Coefficients below
        // `small_matrix_value` would be dropped with a mere warning; 1e-12 is the least it takes.
        unsafe {
            instance.ear.listen(highs)?;
            let name = c"small_matrix_value".as_ptr();
            good("an option", ffi::Highs_setDoubleOptionValue(highs, name, 1e-12))?;
        }
        Ok(instance)
    }

    /// Warnings and errors said so far.
    pub fn words(&self) -> Vec<String> {
        self.ear.words()
    }

    /// Reads a file; `Ok(false)` if HiGHS had warnings.
    pub fn read(&mut self, path: &Path) -> Result<bool, String> {
        let name = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| "the path has a zero byte".to_string())?;
        // SAFETY: the instance is alive, the string ends with zero; reading does not keep it.
        let status = unsafe { ffi::Highs_readModel(self.highs, name.as_ptr()) };
        good("the program", status)?;
        Ok(status == ffi::STATUS_OK)
    }

    pub fn is_quadratic(&self) -> bool {
        // SAFETY: a query of a live instance.
        unsafe { ffi::Highs_getHessianNumNz(self.highs) > 0 }
    }

    /// The program as HiGHS holds it.
    pub fn linear(&self) -> Result<Linear, String> {
        // SAFETY: queries of a live instance.
        let (cols, rows, entries) = unsafe {
            (
                ffi::Highs_getNumCol(self.highs),
                ffi::Highs_getNumRow(self.highs),
                ffi::Highs_getNumNz(self.highs),
            )
        };
        let (n, m, z) = (size(cols)?, size(rows)?, size(entries)?);
        let mut raw = Linear {
            maximise: false,
            offset: 0.0,
            costs: vec![0.0; n],
            lower: vec![0.0; n],
            upper: vec![0.0; n],
            row_lower: vec![0.0; m],
            row_upper: vec![0.0; m],
            starts: vec![0; m + 1],
            indices: vec![0; z],
            values: vec![0.0; z],
            integrality: vec![0; n],
        };
        let (mut num_col, mut num_row, mut num_nz, mut sense) = (0, 0, 0, 0);
        // SAFETY: every array has the size that the queries above gave; by rows there is one start per row
        // (one more is allocated). HiGHS writes integrality only for integer programs.
        let status = unsafe {
            ffi::Highs_getLp(
                self.highs,
                ffi::MATRIX_FORMAT_ROW_WISE,
                &mut num_col,
                &mut num_row,
                &mut num_nz,
                &mut sense,
                &mut raw.offset,
                raw.costs.as_mut_ptr(),
                raw.lower.as_mut_ptr(),
                raw.upper.as_mut_ptr(),
                raw.row_lower.as_mut_ptr(),
                raw.row_upper.as_mut_ptr(),
                raw.starts.as_mut_ptr(),
                raw.indices.as_mut_ptr(),
                raw.values.as_mut_ptr(),
                raw.integrality.as_mut_ptr(),
            )
        };
        good("handing out the program", status)?;
        raw.maximise = sense == ffi::OBJECTIVE_SENSE_MAXIMIZE;
        raw.starts[m] = entries;
        Ok(raw)
    }

    /// Name of a column or row; `None` if it has none.
    pub fn name(&self, row: bool, index: usize) -> Option<String> {
        let index = i32::try_from(index).ok()?;
        // HiGHS writes at most kHighsMaximumStringLength (512) bytes with the closing zero.
        let mut buffer = vec![0u8; 1024];
        let at = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is twice as long as the longest name HiGHS writes.
        let status = unsafe {
            if row {
                ffi::Highs_getRowName(self.highs, index, at)
            } else {
                ffi::Highs_getColName(self.highs, index, at)
            }
        };
        let end = buffer.iter().position(|b| *b == 0)?;
        let name = String::from_utf8_lossy(&buffer[..end]).into_owned();
        (status != ffi::STATUS_ERROR && !name.is_empty()).then_some(name)
    }
}

fn size(n: i32) -> Result<usize, String> {
    usize::try_from(n).map_err(|_| "HiGHS gave a negative size".to_string())
}

/// Version of the HiGHS library that is linked, such as `1.15.0`.
pub fn version() -> String {
    // SAFETY: Highs_version returns a string constant of the library, closed by zero.
    unsafe { CStr::from_ptr(ffi::Highs_version()) }.to_string_lossy().into_owned()
}
