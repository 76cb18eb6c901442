//! Error codes of the backends.

/// Every code with its explanation: what went wrong and what to do.
pub const CODES: &[(&str, &str)] = &[
    (
        "EX-0481",
        "Python is not there or too old for the Aer backend. Install python3 (3.10 or newer) with its venv module, or set `python` of the backend to one; the other backends of a chain do without.",
    ),
    (
        "EX-0482",
        "The Python environment of the Aer backend could not be made: pip failed. The message ends with pip's own last words; mostly the package index cannot be reached. Make it reachable (PIP_INDEX_URL or pip's configuration of the daemon's user), then `backend test NAME`.",
    ),
    (
        "EX-0483",
        "Making the Python environment of the Aer backend took longer than allowed. Look at the network and the disk, raise `provision_seconds` of the backend, then `backend test NAME`.",
    ),
    (
        "EX-0484",
        "The Aer service did not start. The message ends with its last words. If the environment is damaged, remove the directory that is named and test the backend again.",
    ),
    (
        "EX-0485",
        "The file of a backend's credentials cannot be used: missing, readable by others, or without the two keys. Give it mode 0600 and the lines `aws_access_key_id = ..` and `aws_secret_access_key = ..`, or load it through systemd's LoadCredential.",
    ),
    (
        "EX-0486",
        "A setting of a quantum backend is outside its range or contradicts another. The message names the setting, what was expected and what came.",
    ),
    (
        "EX-0487",
        "A quantum backend is named that is not set up. The message names those there are: correct `backend` or `fallback`, or add it to the settings under `backends` and start the daemon again.",
    ),
    (
        "EX-0488",
        "The vendor refuses the keys of a backend: they are wrong, revoked, expired, or may not do this. Put sound keys into its credentials file, which is read at each call, then `backend test NAME`. The keys themselves are never shown.",
    ),
    (
        "EX-0489",
        "No backend gave a result that can be used: no shot was a design of the feasible set. Take more shots or layers, or another backend; the next of the chain was asked.",
    ),
    (
        "EX-0490",
        "A test of a backend failed. The message says what it answered; `backends` shows its last error.",
    ),
    (
        "EX-0491",
        "A test job on this backend costs money and was not made. `backend test NAME --spend` makes it, within the backend's budget.",
    ),
    (
        "EX-0493",
        "What a worker prepared for a backend, or what came back, does not fit the stage's inputs. Retry the stage; if it comes again, the artefact store is damaged: `journal verify` says where.",
    ),
];

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn codes_are_unique_sorted_and_in_this_modules_range() {
        for pair in CODES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
        for (code, text) in CODES {
            assert!(("EX-0481".."EX-0500").contains(code), "{code}");
            assert!(text.ends_with('.') && text.len() > 40, "{code} explains too little");
        }
    }
}
