//! The nodes of a layer: keys of one length, each once, numbered as they come.

/// Keys of one length, each once, numbered as they come.
pub(super) struct Interner {
    words: usize,
    keys: Vec<u64>,
    slots: Vec<u32>,
    pub len: usize,
}

impl Interner {
    pub(super) fn new(words: usize) -> Self {
        Interner { words, keys: Vec::new(), slots: vec![u32::MAX; 64], len: 0 }
    }

    pub(super) fn key(&self, id: usize) -> &[u64] {
        &self.keys[id * self.words..(id + 1) * self.words]
    }

    fn slot(&self, key: &[u64]) -> usize {
        let hash = key.iter().fold(0x9E37_79B9_7F4A_7C15u64, |hash, &word| {
            let mixed = (hash ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            mixed ^ mixed >> 32
        });
        hash as usize & (self.slots.len() - 1)
    }

    fn find(&self, key: &[u64]) -> (usize, Option<u32>) {
        let mut at = self.slot(key);
        loop {
            match self.slots[at] {
                u32::MAX => return (at, None),
                id if self.key(id as usize) == key => return (at, Some(id)),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    pub(super) fn intern(&mut self, key: &[u64]) -> u32 {
        let (at, known) = self.find(key);
        if let Some(id) = known {
            return id;
        }
        let id = self.len as u32;
        self.slots[at] = id;
        self.keys.extend_from_slice(key);
        self.len += 1;
        if self.len * 2 > self.slots.len() {
            self.slots = vec![u32::MAX; self.slots.len() * 2];
            for id in 0..self.len {
                let (at, _) = self.find(self.key(id));
                self.slots[at] = id as u32;
            }
        }
        id
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.capacity() * 8 + self.slots.capacity() * 4
    }
}
