//! How many rows go into one call, where many may.
//!
//! Owns the most that go into one, and what the server teaches about it. Knows nothing of rows or of
//! how calls are made.

/// Associations a look-up asks for, at most: 500 took a real server 55 to 80 ms
/// (`docs/cmdb-api.md`, look-ups).
pub const LOOK_UP: usize = 500;

/// The size of the next call of a kind: halved where a call got no answer, grown by an eighth where it
/// was answered.
#[derive(Clone, Copy, Debug)]
pub struct CallSize {
    least: usize,
    size: usize,
    most: usize,
}

impl CallSize {
    /// Begins with the most.
    pub const fn new(least: usize, most: usize) -> Self {
        Self { least, size: most, most }
    }

    /// How many may go together now.
    pub const fn get(self) -> usize {
        self.size
    }

    /// A call of so many got no answer in time. Of a single one that says nothing.
    pub fn shrink(&mut self, sent: usize) {
        if sent > 1 {
            self.size = self.size.min((sent / 2).max(self.least));
        }
    }

    /// A call of so many was refused, and will be again: fewer from now on.
    pub fn cap(&mut self, sent: usize) {
        self.most = self.most.min((sent / 2).max(self.least));
        self.size = self.size.min(self.most);
    }

    /// A call was answered.
    pub fn grow(&mut self) {
        self.size = (self.size + self.size.div_ceil(8)).min(self.most);
    }
}

/// That of look-ups.
impl Default for CallSize {
    fn default() -> Self {
        Self::new(1, LOOK_UP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_ups_are_halved_to_a_single_association_and_grow_back() {
        let mut size = CallSize::default();
        let mut sizes = vec![size.get()];
        for _ in 0..10 {
            size.shrink(size.get());
            sizes.push(size.get());
        }
        assert_eq!(sizes, [500, 250, 125, 62, 31, 15, 7, 3, 1, 1, 1]);
        for _ in 0..45 {
            size.grow();
        }
        assert_eq!(size.get(), LOOK_UP);
    }

    #[test]
    fn what_was_refused_is_not_asked_for_again() {
        let mut size = CallSize::default();
        size.cap(500);
        for _ in 0..45 {
            size.grow();
        }
        assert_eq!(size.get(), 250);
    }

    #[test]
    fn a_late_refusal_of_a_larger_look_up_shrinks_nothing_further() {
        let mut size = CallSize::default();
        for sent in [500, 100, 500, 1] {
            size.shrink(sent);
        }
        assert_eq!(size.get(), 50);
    }

    #[test]
    fn batches_stay_batches_however_often_they_fail() {
        let mut size = CallSize::new(2, 200);
        for _ in 0..20 {
            size.shrink(size.get());
        }
        assert_eq!(size.get(), 2);
    }
}
