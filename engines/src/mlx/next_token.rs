//! Greedy sampling on the device.

use mlx_rs::Array;
use mlx_rs::ops::indexing::argmax;
use mlx_rs::transforms::{async_eval, eval};

use super::{at, failed};
use crate::EngineError;

/// The token with the largest logit, possibly not computed yet.
pub(super) struct NextToken {
    /// The lowest id among those with the largest logit: u32, `[1]`.
    pub(super) token: Array,
    /// The largest logit; not finite if one of the logits is NaN or infinite.
    best: Array,
}

impl NextToken {
    /// For logits `[1, vocab]`.
    pub(super) fn of(logits: &Array) -> Result<Self, EngineError> {
        let sample = || Ok(Self { token: argmax(logits, false)?.reshape(&[1])?, best: logits.max(false)? });
        sample().map_err(at("sample"))
    }

    /// Starts the computation without waiting.
    pub(super) fn begin(&self) -> Result<(), EngineError> {
        async_eval([&self.token, &self.best]).map_err(at("sample"))
    }

    /// Waits for the token.
    pub(super) fn wait(&self) -> Result<u32, EngineError> {
        eval([&self.token, &self.best]).map_err(at("sample"))?;
        let read = |error: mlx_rs::error::ConversionError| failed("sample", error.to_string());
        let best: f32 = self.best.try_item_exact().map_err(read)?;
        if !best.is_finite() {
            let reason = "the logits are not finite: the weights are damaged or belong to another model";
            return Err(failed("sample", reason));
        }
        self.token.try_item_exact().map_err(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equals_wins_and_logits_that_are_not_finite_are_an_error() {
        let sample =
            |logits: &[f32]| NextToken::of(&Array::from_slice(logits, &[1, logits.len() as i32])).unwrap().wait();
        let mut logits = vec![-1.0; 100];
        logits[70] = 3.0;
        logits[41] = 3.0;
        assert_eq!(sample(&logits).unwrap(), 41);
        logits[99] = f32::NAN;
        assert!(sample(&logits).unwrap_err().to_string().contains("not finite"));
        assert!(sample(&[1.0, f32::INFINITY]).is_err());
    }
}
