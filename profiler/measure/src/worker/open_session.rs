//! A session and the tokens in front of each prompt.

use engine_api::{Advice as _, Session};
use record::Reason;

/// A loaded session.
pub(super) struct OpenSession {
    pub(super) session: Box<dyn Session>,
    /// The tokens with which the context was filled last, and which it still has after a rewind.
    filler: Vec<u32>,
}

impl OpenSession {
    pub(super) fn new(session: Box<dyn Session>) -> Self {
        Self { session, filler: Vec::new() }
    }

    /// Brings the context to these tokens. Where they are in it already and the engine can drop what followed them, they are not run
    /// again: with tens of thousands of tokens that takes much longer than the request.
    pub(super) fn fill(&mut self, filler: &[u32], engine: &str) -> Result<(), Reason> {
        let failed = |error: engine_api::EngineError| Reason::new(error.with_advice());
        if !filler.is_empty() && self.filler == filler && self.session.rewind(filler.len()).map_err(failed)? {
            return Ok(());
        }
        // What fails from here on leaves a context of unknown tokens.
        self.filler.clear();
        self.session.reset().map_err(failed)?;
        if filler.is_empty() {
            return Ok(());
        }
        let depth = filler.len();
        let steps = self.session.steps().ok_or_else(|| {
            Reason::new(format!("engine {engine} has no steps, so its context cannot be filled to depth {depth}"))
        })?;
        steps.prefill(filler).and_then(|()| steps.sync()).map_err(failed)?;
        self.filler.extend_from_slice(filler);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine_api::{EngineError, KvBytes, Observer, Request, Steps, Usage};

    use super::*;

    /// Counts the tokens that it runs.
    #[derive(Default)]
    struct Counting {
        context: Vec<u32>,
        run: std::rc::Rc<std::cell::Cell<usize>>,
        can_rewind: bool,
        fails: bool,
    }

    impl Session for Counting {
        fn generate(&mut self, _: &Request, _: &mut dyn Observer) -> Result<Usage, EngineError> {
            Err(EngineError::EmptyPrompt)
        }
        fn reset(&mut self) -> Result<(), EngineError> {
            self.context.clear();
            Ok(())
        }
        fn rewind(&mut self, tokens: usize) -> Result<bool, EngineError> {
            if self.can_rewind {
                self.context.truncate(tokens);
            }
            Ok(self.can_rewind)
        }
        fn kv_bytes(&self) -> Option<KvBytes> {
            None
        }
        fn steps(&mut self) -> Option<&mut dyn Steps> {
            Some(self)
        }
    }

    impl Steps for Counting {
        fn tokenize(&mut self, _: &str, _: bool) -> Result<Vec<u32>, EngineError> {
            Ok(Vec::new())
        }
        fn prefill(&mut self, tokens: &[u32]) -> Result<(), EngineError> {
            self.context.extend(tokens);
            self.run.set(self.run.get() + tokens.len());
            if self.fails { Err(EngineError::EmptyPrompt) } else { Ok(()) }
        }
        fn decode(&mut self, token: u32) -> Result<(), EngineError> {
            self.prefill(&[token])
        }
        fn sample(&mut self) -> Result<u32, EngineError> {
            Ok(0)
        }
        fn detokenize(&mut self, _: u32) -> Result<String, EngineError> {
            Ok(String::new())
        }
        fn sync(&mut self) -> Result<(), EngineError> {
            Ok(())
        }
        fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
            Ok(Vec::new())
        }
    }

    /// The tokens that are run to fill the context for these requests, one after the other.
    fn tokens_run(session: Counting, fillers: &[&[u32]]) -> Vec<usize> {
        let run = session.run.clone();
        let mut open = OpenSession::new(Box::new(session));
        let fill = |filler: &&[u32]| {
            let before = run.get();
            let _ = open.fill(filler, "counting");
            let filled = run.get() - before;
            // A request follows.
            let steps = open.session.steps().unwrap();
            let _ = steps.prefill(&[7, 8]);
            filled
        };
        fillers.iter().map(fill).collect()
    }

    #[test]
    fn the_same_tokens_are_run_once_where_the_engine_can_rewind() {
        let fillers: [&[u32]; 6] = [&[1, 2, 3], &[1, 2, 3], &[1, 2], &[1, 2], &[], &[1, 2]];
        let rewinds = Counting { can_rewind: true, ..Counting::default() };
        assert_eq!(tokens_run(rewinds, &fillers), [3, 0, 2, 0, 0, 2]);
        assert_eq!(tokens_run(Counting::default(), &fillers), [3, 3, 2, 2, 0, 2]);
    }

    #[test]
    fn what_failed_is_run_again() {
        let fails = Counting { can_rewind: true, fails: true, ..Counting::default() };
        assert_eq!(tokens_run(fails, &[&[1, 2], &[1, 2]]), [2, 2]);
    }
}
