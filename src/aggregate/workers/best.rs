//! The hardest share of one worker: since it is known, and of the last day, in 32 bytes.
//!
//! The day is kept in four pieces of six hours, of which the oldest is forgotten whole: what is told of it is of the last 18 to
//! 24 hours.

/// Milliseconds of one piece.
const PIECE_MS: u64 = 6 * 3_600_000;
const PIECES: usize = 4;

/// Difficulties by the hash; zero where none is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Best {
    ever: f64,
    /// By their number, modulo how many there are.
    pieces: [f32; PIECES],
    /// The number of the newest piece.
    newest: u32,
}

impl Best {
    /// A share of this difficulty was found lately.
    pub(super) fn add(&mut self, difficulty: f64, now_ms: u64) {
        if difficulty <= 0.0 {
            return;
        }
        let piece = piece_at(now_ms).max(self.newest);
        (self.newest + 1..=piece).rev().take(PIECES).for_each(|old| self.pieces[place(old)] = 0.0);
        self.newest = piece;
        self.ever = self.ever.max(difficulty);
        let best = &mut self.pieces[place(piece)];
        // Difficulties far beyond what there are hashes for are as good as the largest number.
        *best = best.max((difficulty as f32).min(f32::MAX));
    }

    /// Since the beginning.
    pub(super) fn ever(&self) -> Option<f64> {
        (self.ever > 0.0).then_some(self.ever)
    }

    /// Of the last day.
    pub(super) fn of_day(&self, now_ms: u64) -> Option<f64> {
        let oldest = (piece_at(now_ms) + 1).saturating_sub(PIECES as u32);
        let kept = (self.newest + 1).saturating_sub(PIECES as u32)..=self.newest;
        let best = kept.filter(|piece| *piece >= oldest).map(|piece| self.pieces[place(piece)]);
        // What is rounded is no harder than the hardest that there ever was.
        let best = f64::from(best.fold(0.0, f32::max)).min(self.ever);
        (best > 0.0).then_some(best)
    }

    /// Takes over what another had.
    pub(super) fn merge(&mut self, other: &Best, now_ms: u64) {
        if let Some(day) = other.of_day(now_ms) {
            self.add(day, now_ms);
        }
        self.ever = self.ever.max(other.ever);
    }
}

fn piece_at(now_ms: u64) -> u32 {
    u32::try_from(now_ms / PIECE_MS).unwrap_or(u32::MAX - 1)
}

fn place(piece: u32) -> usize {
    piece as usize % PIECES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_the_day_goes_with_its_day_and_the_best_of_all_stays() {
        let mut best = Best::default();
        assert_eq!((best.ever(), best.of_day(0)), (None, None));
        best.add(1_000.0, 0);
        best.add(0.0, 1);
        best.add(70.0, PIECE_MS);
        for (piece, day) in [(1, Some(1_000.0)), (3, Some(1_000.0)), (4, Some(70.0)), (5, None), (90, None)] {
            assert_eq!(best.of_day(piece * PIECE_MS), day, "{piece}");
        }
        best.add(5.0, 4 * PIECE_MS);
        assert_eq!(best.of_day(4 * PIECE_MS), Some(70.0));
        best.add(4.0, 50 * PIECE_MS);
        assert_eq!((best.ever(), best.of_day(50 * PIECE_MS)), (Some(1_000.0), Some(4.0)));
        best.add(f64::MAX, 50 * PIECE_MS);
        assert!(best.of_day(50 * PIECE_MS).is_some_and(f64::is_finite));
    }

    #[test]
    fn what_is_told_late_is_of_now_and_what_is_taken_over_is_the_best_of_both() {
        let (mut one, mut other) = (Best::default(), Best::default());
        one.add(9.0, 8 * PIECE_MS);
        one.add(20.0, 7 * PIECE_MS);
        other.add(500.0, 0);
        other.add(11.0, 8 * PIECE_MS);
        one.merge(&other, 8 * PIECE_MS);
        assert_eq!((one.ever(), one.of_day(8 * PIECE_MS)), (Some(500.0), Some(20.0)));
        assert_eq!(one.of_day(12 * PIECE_MS), None);
    }
}
