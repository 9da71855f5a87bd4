//! Ids of our own for calls: what to look for in a server's log, also where no answer came.
//!
//! The id of a write is a function of the run, the row and the attempt, and so the same whenever it is
//! computed. It can be read back: an id that somebody shows either is one of the run's writes, or is not.
//! Knows nothing of how an id travels.

use crate::cmdb::wire::RequestId;
use crate::input::digest::Hasher;
use crate::target::Entrance;

/// Makes the ids of one run, or of the questions of one process.
#[derive(Clone, Debug)]
pub struct RequestIds {
    key: [u64; 2],
    /// What tells the questions of this process from those of another one of the same run.
    process: u64,
    questions: u64,
}

/// What an id is for: with the row or the question, and with the attempt or the process, it makes an id
/// that no other call of the run has.
#[derive(Clone, Copy)]
enum Use {
    Write = 0,
    Question = 1,
}

impl RequestIds {
    /// Of the run that `key` tells from all others. `None` for the ESB, which makes its own ids and
    /// takes none.
    pub fn new(entrance: Entrance, key: &str, process: u64) -> Option<Self> {
        if entrance == Entrance::Esb {
            return None;
        }
        let mut hasher = Hasher::default();
        hasher.update(key.as_bytes());
        let hex = hasher.sha256();
        let part = |from| u64::from_str_radix(&hex[from..from + 16], 16).unwrap_or_default();
        Some(Self { key: [part(0), part(16)], process, questions: 0 })
    }

    /// Of the write number `attempt` for a row; of a batch, for its first row.
    pub fn of_write(&self, row: u64, attempt: u32) -> RequestId {
        self.id(Use::Write, row, attempt.into())
    }

    /// Of the next call that writes nothing.
    pub fn of_question(&mut self) -> RequestId {
        self.questions += 1;
        self.id(Use::Question, self.questions, self.process)
    }

    /// The row and the attempt of the write that has this id, if it is one of this run's. Of the ids that
    /// others make up, one in 2^63 looks like one.
    pub fn write_of(&self, id: RequestId) -> Option<(u64, u32)> {
        let [first, second] = self.key;
        let (high, low) = ((id.0 >> 64) as u64, id.0 as u64);
        let number = unmixed(low).wrapping_sub(second).wrapping_sub(high);
        let attempt = u32::try_from(number >> 1).ok().filter(|attempt| *attempt > 0)?;
        let is_write = number & 1 == Use::Write as u64;
        is_write.then(|| (unmixed(high).wrapping_sub(first), attempt))
    }

    fn id(&self, what: Use, of: u64, number: u64) -> RequestId {
        let [first, second] = self.key;
        let high = mixed(first.wrapping_add(of));
        let low = mixed(second.wrapping_add(high).wrapping_add(number << 1 | what as u64));
        RequestId(u128::from(high) << 64 | u128::from(low))
    }
}

/// The finish of `SplitMix64`: another number for each number, with all bits stirred.
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The number that [`mixed`] made this of.
const fn unmixed(number: u64) -> u64 {
    let number = number ^ (number >> 31) ^ (number >> 62);
    let number = number.wrapping_mul(0x3196_42b2_d24d_8ec3);
    let number = number ^ (number >> 27) ^ (number >> 54);
    let number = number.wrapping_mul(0x96de_1b17_3f11_9089);
    number ^ (number >> 30) ^ (number >> 60)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ids(key: &str, process: u64) -> RequestIds {
        RequestIds::new(Entrance::Native, key, process).unwrap()
    }

    #[test]
    fn an_id_is_the_same_whenever_it_is_made_and_no_other_calls() {
        let (mut one, mut again) = (ids("a run", 1), ids("a run", 2));
        assert_eq!(one.of_write(7, 1), again.of_write(7, 1));
        assert_eq!(one.of_write(7, 1).to_string(), "8b7f796cfe1aa84a1aad35a5c57e9784");
        let mut seen = HashSet::new();
        for row in 0..100 {
            for attempt in 1..=6 {
                assert!(seen.insert(one.of_write(row, attempt)));
            }
            assert!(seen.insert(one.of_question()) && seen.insert(again.of_question()));
        }
        let other = ids("another", 1);
        assert!((0..100).all(|row| seen.insert(other.of_write(row, 1))));
    }

    #[test]
    fn a_writes_id_is_read_back_and_no_other_is_taken_for_one() {
        let (mut run, other) = (ids("a run", 1), ids("another", 1));
        for row in [0, 1, 7, 1 << 40, u64::MAX] {
            for attempt in [1, 2, 6, u32::MAX] {
                let id = run.of_write(row, attempt);
                assert_eq!(run.write_of(id), Some((row, attempt)));
                assert_eq!(other.write_of(id), None);
                assert_eq!(run.write_of(RequestId(id.0 ^ 1 << 40)), None);
            }
        }
        assert_eq!((0..1_000).find_map(|_| run.write_of(run.clone().of_question())), None);
        let question = run.of_question();
        assert_eq!(run.write_of(question), None);
    }

    #[test]
    fn the_esb_takes_none() {
        assert!(RequestIds::new(Entrance::Esb, "a run", 1).is_none());
    }
}
