//! Many designs in little room: packed rows, their digest, the compact file.
//!
//! Rule: a row is the option positions of one design in the order of the decisions, each in
//! `ceil(log2(options))` bits, highest bit first, padded with zero bits to whole bytes. So rows of equal
//! length compare as their designs do, and a set in canonical order is sorted bytes.
//! Nine decisions with up to 256 options need at most 9 bytes; the known spaces need 4 to 6.

use crate::space::{Design, DesignSpace};

/// First bytes of a compact file; the digit is the version of the form.
const MAGIC: &[u8; 8] = b"EXFSET1\n";
const HEADER_BYTES: usize = 8 + 32 + 32 + 8;

/// How the designs of one space are packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packing {
    bits: Vec<u32>,
    stride: usize,
}

impl Packing {
    pub fn new(space: &DesignSpace) -> Self {
        let bits: Vec<u32> = space
            .decisions
            .iter()
            .map(|d| usize::BITS - d.options.len().saturating_sub(1).leading_zeros())
            .collect();
        let total: u32 = bits.iter().sum();
        Packing { bits, stride: (total as usize).div_ceil(8).max(1) }
    }

    /// Bytes per design.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bits of all positions together.
    pub(super) fn total_bits(&self) -> u32 {
        self.bits.iter().sum()
    }

    /// The contribution of `option` at `decision` to a design's key of [`Packing::total_bits`] bits.
    pub(super) fn key_bits(&self, decision: usize, option: u16) -> u64 {
        let below: u32 = self.bits[decision + 1..].iter().sum();
        u64::from(option) << below
    }

    /// Writes a key of at most 64 bits as a row.
    pub(super) fn push_key(&self, key: u64, out: &mut Vec<u8>) {
        let pad = self.stride as u32 * 8 - self.total_bits();
        let wide = u128::from(key) << pad;
        out.extend_from_slice(&wide.to_be_bytes()[16 - self.stride..]);
    }

    pub fn push(&self, design: &[u16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.stride, 0);
        let row = &mut out[start..];
        let mut at = 0usize;
        for (&bits, &option) in self.bits.iter().zip(design) {
            for bit in (0..bits).rev() {
                if option >> bit & 1 == 1 {
                    row[at / 8] |= 0x80 >> (at % 8);
                }
                at += 1;
            }
        }
    }

    pub fn unpack(&self, row: &[u8]) -> Design {
        let mut at = 0usize;
        let mut design = Vec::with_capacity(self.bits.len());
        for &bits in &self.bits {
            let mut option = 0u16;
            for _ in 0..bits {
                option = option << 1 | u16::from(row[at / 8] >> (7 - at % 8) & 1);
                at += 1;
            }
            design.push(option);
        }
        design
    }
}

/// Designs of one space, packed. Whoever fills it sees to the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesignSet {
    packing: Packing,
    rows: Vec<u8>,
}

/// Why bytes are no compact set of this space.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("not a compact set of designs: the first bytes are others")]
    NotASet,
    #[error(
        "the set belongs to a space with digest {found}, not {expected}; check it against the space it was made from"
    )]
    OtherSpace { expected: String, found: String },
    #[error("the set is damaged: {what}; make it anew")]
    Damaged { what: String },
}

impl DesignSet {
    pub fn new(packing: Packing) -> Self {
        DesignSet { packing, rows: Vec::new() }
    }

    /// Takes rows packed by `packing`; a broken last row is dropped.
    pub(super) fn from_rows(packing: Packing, mut rows: Vec<u8>) -> Self {
        rows.truncate(rows.len() / packing.stride * packing.stride);
        DesignSet { packing, rows }
    }

    pub fn len(&self) -> usize {
        self.rows.len() / self.packing.stride
    }
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
    /// The packed bytes, [`Packing::stride`] per design.
    pub fn bytes(&self) -> &[u8] {
        &self.rows
    }
    pub fn push(&mut self, design: &[u16]) {
        self.packing.push(design, &mut self.rows);
    }
    pub fn get(&self, index: usize) -> Option<Design> {
        let stride = self.packing.stride;
        self.rows.get(index * stride..(index + 1) * stride).map(|row| self.packing.unpack(row))
    }
    pub fn iter(&self) -> impl Iterator<Item = Design> + '_ {
        self.rows.chunks_exact(self.packing.stride).map(|row| self.packing.unpack(row))
    }

    /// The compact file: magic, digest of the space, digest of the set, count, rows.
    pub fn to_file(&self, space: &DesignSpace) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + self.rows.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(space.digest().as_bytes());
        out.extend_from_slice(feasible_set_digest(space, self).as_bytes());
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.rows);
        out
    }

    /// True if `bytes` begin like a compact file.
    pub fn is_file(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads a compact file back and checks that it is whole.
    ///
    /// # Errors
    /// [`SetError`]: another kind of file, another space, or damage.
    pub fn from_file(space: &DesignSpace, bytes: &[u8]) -> Result<Self, SetError> {
        if !Self::is_file(bytes) {
            return Err(SetError::NotASet);
        }
        let damaged = |what: &str| SetError::Damaged { what: what.to_string() };
        let (Some(of_space), Some(of_set), Some(count), Some(rows)) =
            (bytes.get(8..40), bytes.get(40..72), bytes.get(72..80), bytes.get(80..))
        else {
            return Err(damaged("the header is cut off"));
        };
        let expected = space.digest();
        if of_space != expected.as_bytes() {
            let found: String = of_space.iter().map(|b| format!("{b:02x}")).collect();
            return Err(SetError::OtherSpace { expected: expected.to_hex().to_string(), found });
        }
        let packing = Packing::new(space);
        let count = count.try_into().map(u64::from_le_bytes).map_err(|_| damaged("the count is cut off"))?;
        if u64::try_from(rows.len()).ok() != count.checked_mul(packing.stride as u64) {
            return Err(damaged("its length does not fit its count"));
        }
        let set = DesignSet { packing, rows: rows.to_vec() };
        if feasible_set_digest(space, &set).as_bytes() != of_set {
            return Err(damaged("its digest differs"));
        }
        Ok(set)
    }
}

/// blake3 over `executing feasible set 1\n`, the digest of the space, the number of designs (8 bytes,
/// little end first), then the packed rows in the order of the set.
pub fn feasible_set_digest(space: &DesignSpace, set: &DesignSet) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"executing feasible set 1\n");
    hasher.update(space.digest().as_bytes());
    hasher.update(&(set.len() as u64).to_le_bytes());
    hasher.update(&set.rows);
    hasher.finalize()
}
