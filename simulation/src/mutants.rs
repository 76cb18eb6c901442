//! Faults put in on purpose, to judge the judges: each must be noticed within a bounded number of seeds.

/// One way in which the simulated daemon is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The daemon as it should be.
    None,
    /// Commands are performed before their events are durable.
    ActsBeforeTheRecord,
    /// A client is told that its run is taken before the record is durable.
    AnswersBeforeTheRecord,
    /// The store believes a sync that follows a failed one.
    BelievesAFailedSync,
    /// The store acknowledges what a full disk did not take.
    SwallowsAFullDisk,
    /// The store does not check what it reads back.
    SkipsChecksums,
    /// The store goes on behind a torn write without cutting it off.
    KeepsATornTail,
    /// The clock follows the wall at a restart, backwards too.
    FollowsTheWallClock,
    /// A run takes an answer whatever fence it carries.
    AcceptsStaleFences,
    /// A restarted run does not take away what was in flight.
    ForgetsWhatWasInFlight,
    /// A run that is rebuilt forgets its last success.
    ForgetsASuccess,
    /// A restarted orchestrator does not know the keys of earlier submissions.
    ForgetsKeys,
    /// A run gives its lease back when it starts, not when it ends.
    ReleasesTheLeaseEarly,
    /// A refused placement keeps its lease.
    LeaksALease,
    /// A refused placement keeps its lease if the stage is being undone.
    LeaksTheLeaseOfAnUndo,
    /// A refused placement gives back the lease that the stage's next request was granted.
    TakesTheNextRequestsLease,
    /// A run that begins again takes a placement whose lease was given back when it began.
    TakesOldPlacements,
    /// Grants are not counted against what is held: the ledger is a new one for each round.
    GrantsTwice,
    /// A run whose actor broke down begins again while its executors are still at work, and nobody looks whether
    /// they are.
    LeavesExecutorsAtWork,
    /// An executor begins an attempt although the word to abandon it came first.
    BeginsWhatWasAbandoned,
    /// An abandoned attempt's process is left alive.
    LeavesWorkersAlive,
    /// Outputs are taken without hashing them again.
    AdoptsUnhashedOutputs,
    /// A worker is handed the checkpoint of an earlier stage's work.
    MixesUpCheckpoints,
    /// A submission whose reply was lost is simply made again.
    SubmitsAgainBlindly,
    /// A job is submitted before its key is durable.
    SubmitsBeforeTheKey,
    /// An activation that was cut short stays as it is.
    LeavesAnActivationOpen,
    /// The link is switched before the intent is durable.
    SwitchesBeforeTheIntent,
    /// A deployer's record that lost a race for its place in the stream is given up.
    GivesUpOnConflict,
    /// A resume that was on its way when an emergency stop came is carried out.
    ResumesDuringAStop,
    /// A client is told of an emergency stop before every run has noted it.
    ClaimsTheStopEarly,
    /// Runs restarted during an emergency stop go on.
    ForgetsTheEmergency,
    /// A program that took too long is repeated, whether or not it may be.
    RepeatsWhatTimedOut,
    /// A program whose slot broke down is repeated, whether or not it may be.
    RepeatsAfterAPanic,
    /// A stop that was asked for costs an attempt.
    ChargesAStop,
    /// A run that is rebuilt forgets the signals that came.
    ForgetsASignal,
    /// A reset runs again a stage that it was to keep.
    ResetsWhatItKept,
    /// An undo goes back to the release before, whatever became of the run that deployed that.
    UndoesToTheOneBefore,
    /// The time of an attempt counts from its record, however long that took to be written.
    CountsFromTheRecord,
    /// What ran before a restart asks for room as if it had never asked before.
    ForgetsTheAge,
    /// After a start room goes to whoever asks first.
    PlacesBeforeAllHaveAsked,
    /// A run whose release is not active any more is undone without a record.
    SwitchesOnlyItsOwn,
}

impl Mutant {
    /// Every fault, with words of which at least one is in what the judges must say of it.
    pub const ALL: [(Self, &'static [&'static str]); 40] = [
        (Self::ActsBeforeTheRecord, &["before its record"]),
        (Self::AnswersBeforeTheRecord, &["before it was durable"]),
        (Self::BelievesAFailedSync, &["the store is damaged", "acknowledged records are lost"]),
        (Self::SwallowsAFullDisk, &["acknowledged records are lost", "were acknowledged"]),
        (Self::SkipsChecksums, &["damage was served", "served changed"]),
        (Self::KeepsATornTail, &["the store is damaged", "acknowledged records are lost"]),
        (Self::FollowsTheWallClock, &["it is not over", "time goes back"]),
        (Self::AcceptsStaleFences, &["an old fence"]),
        (Self::ForgetsWhatWasInFlight, &["is stuck"]),
        (
            Self::ForgetsASuccess,
            &["replayed differs", "is not in flight", "begins again in Succeeded", "is stuck"],
        ),
        (Self::ForgetsKeys, &["made run"]),
        (Self::ReleasesTheLeaseEarly, &["are held of", "two live leases"]),
        (Self::LeaksALease, &["leases leaked", "is stuck"]),
        (Self::LeaksTheLeaseOfAnUndo, &["leases leaked", "is stuck"]),
        (Self::TakesTheNextRequestsLease, &["are held of", "two live leases"]),
        (Self::TakesOldPlacements, &["are held of", "two live leases"]),
        (Self::GrantsTwice, &["are held of", "two live leases"]),
        (Self::LeavesExecutorsAtWork, &["two workers", "two live workers"]),
        (Self::BeginsWhatWasAbandoned, &["two workers", "two live workers"]),
        (Self::LeavesWorkersAlive, &["two workers", "two live workers", "left over"]),
        (Self::AdoptsUnhashedOutputs, &["the result of stage"]),
        (Self::MixesUpCheckpoints, &["the result of stage"]),
        (Self::SubmitsAgainBlindly, &["was paid 2 times"]),
        (Self::SubmitsBeforeTheKey, &["which no record names", "before its record"]),
        (Self::LeavesAnActivationOpen, &["left half done", "is open", "the link names"]),
        (Self::SwitchesBeforeTheIntent, &["which no record announced"]),
        (
            Self::GivesUpOnConflict,
            &["left half done", "is open", "the link names", "still active", "its release"],
        ),
        (Self::ResumesDuringAStop, &["after an emergency stop"]),
        (Self::ClaimsTheStopEarly, &["after an emergency stop"]),
        (Self::ForgetsTheEmergency, &["after an emergency stop"]),
        (Self::RepeatsWhatTimedOut, &["took effect twice", "is stuck", "repeats unasked"]),
        (Self::RepeatsAfterAPanic, &["took effect twice"]),
        (Self::ChargesAStop, &["a stop cost an attempt"]),
        (
            Self::ForgetsASignal,
            &["replayed differs", "took two signals", "is stuck", "waits for its signal again"],
        ),
        (Self::ResetsWhatItKept, &["again instead of"]),
        (Self::CountsFromTheRecord, &["had not had its time"]),
        (Self::ForgetsTheAge, &["is older"]),
        (Self::PlacesBeforeAllHaveAsked, &["is older"]),
        (Self::UndoesToTheOneBefore, &["is the newest not undone"]),
        (Self::SwitchesOnlyItsOwn, &["was not taken back"]),
    ];
}
