//! How many associations a look-up asks for.
//!
//! Owns the most that go into one, and what the server teaches about it. Knows nothing of rows or of
//! how calls are made.

/// Associations a look-up, at most: 500 took 55 to 80 ms (captures-chain).
pub const TRIPLES: usize = 500;

/// The size of the next look-up.
#[derive(Clone, Copy, Debug)]
pub struct LookUpSize {
    size: usize,
    most: usize,
}

impl Default for LookUpSize {
    fn default() -> Self {
        Self { size: TRIPLES, most: TRIPLES }
    }
}

impl LookUpSize {
    /// How many associations may be asked for together now; at least 1.
    pub const fn size(self) -> usize {
        self.size
    }

    /// A look-up of so many got no answer in time. Of a single one that says nothing.
    pub fn shrink(&mut self, asked: usize) {
        if asked > 1 {
            self.size = self.size.min(asked / 2);
        }
    }

    /// A look-up of so many was refused, and will be again: fewer from now on.
    pub fn cap(&mut self, asked: usize) {
        self.most = self.most.min((asked / 2).max(1));
        self.size = self.size.min(self.most);
    }

    /// A look-up was answered.
    pub fn grow(&mut self) {
        self.size = (self.size + self.size.div_ceil(8)).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_are_halved_to_a_single_association_and_grow_back() {
        let mut finds = LookUpSize::default();
        let mut sizes = vec![finds.size()];
        for _ in 0..10 {
            finds.shrink(finds.size());
            sizes.push(finds.size());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1]);
        for _ in 0..45 {
            finds.grow();
        }
        assert_eq!(finds.size(), TRIPLES);
    }

    #[test]
    fn what_was_refused_is_not_asked_for_again() {
        let mut finds = LookUpSize::default();
        finds.cap(500);
        for _ in 0..45 {
            finds.grow();
        }
        assert_eq!(finds.size(), 250);
    }

    #[test]
    fn a_late_refusal_of_a_larger_look_up_shrinks_nothing_further() {
        let mut finds = LookUpSize::default();
        for asked in [500, 100, 500, 1] {
            finds.shrink(asked);
        }
        assert_eq!(finds.size(), 50);
    }
}
