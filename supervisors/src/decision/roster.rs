//! The children in start order, and what must be found quickly among them.
//!
//! The one rule: a child changes only inside [`Roster::update`], which keeps every index true. So one
//! event costs O(log n) in the number of children, plus the children it really touches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Child, Key, Status};

#[derive(Debug, Clone, Default)]
pub(super) struct Roster {
    /// Keys rise with time, so their order is the start order.
    /// Boxed: a map of large values keeps nearly half of its memory empty when keys only rise.
    children: BTreeMap<Key, Box<Child>>,
    ids: BTreeMap<Arc<str>, Key>,
    /// When something happens to a child by itself.
    timers: BTreeSet<(Duration, Key)>,
    /// Pending, and due.
    ready: BTreeSet<Key>,
    /// Pending or starting.
    coming: BTreeSet<Key>,
    /// Of these, those that never were up.
    coming_first: BTreeSet<Key>,
    /// To be stopped as soon as it is their turn.
    doomed: BTreeSet<Key>,
    /// Stopping or killed.
    going: BTreeSet<Key>,
    /// Not idle.
    present: usize,
    /// Significant and not idle.
    present_significant: usize,
}

impl Roster {
    pub(super) fn add(&mut self, child: Child) {
        self.ids.insert(child.policy.id.clone(), child.key);
        self.index(&child);
        self.children.insert(child.key, Box::new(child));
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(child) = self.children.remove(&key) {
            self.unindex(&child);
            self.ids.remove(&child.policy.id);
        }
    }

    /// The only way to change a child. Its key and its id stay.
    pub(super) fn update<T>(&mut self, key: Key, change: impl FnOnce(&mut Child) -> T) -> Option<T> {
        let mut child = self.children.remove(&key)?;
        self.unindex(&child);
        let result = change(&mut child);
        self.index(&child);
        self.children.insert(key, child);
        Some(result)
    }

    pub(super) fn get(&self, key: Key) -> Option<&Child> {
        self.children.get(&key).map(|child| &**child)
    }

    pub(super) fn key_of(&self, id: &str) -> Option<Key> {
        self.ids.get(id).copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Child> {
        self.children.values().map(|child| &**child)
    }

    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.children.keys().copied().collect()
    }

    pub(super) fn keys_after(&self, key: Key) -> Vec<Key> {
        self.children.range(key..).map(|(&other, _)| other).filter(|&other| other != key).collect()
    }

    pub(super) fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// A child whose time has come; each timer is given out once.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Key> {
        let &(at, key) = self.timers.first()?;
        if at > now {
            return None;
        }
        self.timers.remove(&(at, key));
        Some(key)
    }

    /// A pending child whose rest is over.
    pub(super) fn mark_ready(&mut self, key: Key) {
        self.ready.insert(key);
    }

    /// Due children up to and including `last`, in start order.
    pub(super) fn ready_up_to(&self, last: Option<Key>) -> Vec<Key> {
        match last {
            Some(last) => self.ready.range(..=last).copied().collect(),
            None => self.ready.iter().copied().collect(),
        }
    }

    pub(super) fn is_ready(&self, key: Key) -> bool {
        self.ready.contains(&key)
    }

    pub(super) fn first_coming(&self) -> Option<Key> {
        self.coming.first().copied()
    }

    pub(super) fn first_never_up(&self) -> Option<Key> {
        self.coming_first.first().copied()
    }

    pub(super) fn last_doomed(&self) -> Option<Key> {
        self.doomed.last().copied()
    }

    pub(super) fn nothing_goes(&self) -> bool {
        self.going.is_empty()
    }

    pub(super) fn present(&self) -> usize {
        self.present
    }

    pub(super) fn present_significant(&self) -> usize {
        self.present_significant
    }

    fn index(&mut self, child: &Child) {
        let key = child.key;
        if let Some(at) = child.timer() {
            self.timers.insert((at, key));
        }
        match child.status {
            Status::Idle => return,
            Status::Pending { .. } | Status::Starting { .. } => {
                self.coming.insert(key);
                if child.starts == 0 {
                    self.coming_first.insert(key);
                }
            }
            Status::Stopping { .. } | Status::Killing { .. } => {
                self.going.insert(key);
            }
            Status::Running { .. } => {}
        }
        if child.doomed().is_some() {
            self.doomed.insert(key);
        }
        self.present += 1;
        self.present_significant += usize::from(child.policy.significant);
    }

    fn unindex(&mut self, child: &Child) {
        let key = child.key;
        if let Some(at) = child.timer() {
            self.timers.remove(&(at, key));
        }
        if child.status == Status::Idle {
            return;
        }
        for set in
            [&mut self.ready, &mut self.coming, &mut self.coming_first, &mut self.doomed, &mut self.going]
        {
            set.remove(&key);
        }
        self.present -= 1;
        self.present_significant -= usize::from(child.policy.significant);
    }
}
