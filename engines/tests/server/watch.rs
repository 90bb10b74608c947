//! Observers and requests for tests of servers.

use engines::openai::OpenAi;
use engines::{Advice, Engine, EngineError, Flow, LoadOptions, Observer, Phase, Piece, Prompt, Request, Session};
use models::chat::Message;
use redaction::Sensitive;

/// Records the calls of an observer.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) edges: Vec<(Phase, bool)>,
    pub(crate) pieces: Vec<String>,
    pub(crate) tokens: Vec<Option<u32>>,
    pub(crate) progress: Vec<(usize, usize)>,
    pub(crate) stop_after: Option<usize>,
}

impl Record {
    pub(crate) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Checks that each phase ends before the next one begins: prefill, then a decode for each further piece. One more decode may
    /// follow: the step whose token ended the text.
    pub(crate) fn check(&self) {
        let phases: Vec<Phase> = self.edges.iter().filter(|(_, begins)| *begins).map(|(phase, _)| *phase).collect();
        for pair in self.edges.chunks(2) {
            assert!(matches!(pair, [(a, true), (b, false)] if a == b), "{:?}", self.edges);
        }
        let prefills = phases.iter().take_while(|phase| **phase == Phase::Prefill).count();
        assert!((1..=2).contains(&prefills), "a finish reason before the text splits it: {phases:?}");
        let phases = &phases[prefills - 1..];
        assert!(phases[1..].iter().all(|phase| *phase == Phase::Decode), "{phases:?}");
        let pieces = self.pieces.len().max(1);
        assert!(phases.len() == pieces || phases.len() == pieces + 1, "{phases:?} for {pieces} pieces");
    }
}

impl Observer for Record {
    fn begin(&mut self, phase: Phase) {
        self.edges.push((phase, true));
    }

    fn end(&mut self, phase: Phase) {
        self.edges.push((phase, false));
    }

    fn cancel(&mut self, phase: Phase) {
        assert_eq!(self.edges.pop(), Some((phase, true)));
    }

    fn progress(&mut self, done: usize, total: usize) {
        self.progress.push((done, total));
    }

    fn piece(&mut self, piece: Piece<'_>) -> Flow {
        assert_eq!(piece.index, self.pieces.len(), "pieces come in order");
        self.pieces.push(piece.text.to_owned());
        self.tokens.push(piece.token);
        if self.stop_after == Some(self.pieces.len()) { Flow::Stop } else { Flow::Continue }
    }
}

/// A chat of one message.
pub(crate) fn chat(text: &str, max_new_tokens: usize) -> Request {
    let prompt =
        Prompt::Text { text: format!("<user>{text}"), add_bos: false, messages: vec![Message::new("user", text)] };
    Request { prompt, max_new_tokens, ignore_eos: false }
}

pub(crate) fn options(url: &str, settings: &[(&str, &str)]) -> LoadOptions {
    let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), Sensitive::setting(key, value))).collect();
    LoadOptions { url: Some(Sensitive::address(url)), settings, ..LoadOptions::default() }
}

pub(crate) fn connect(url: &str, settings: &[(&str, &str)]) -> Result<Box<dyn Session>, EngineError> {
    OpenAi.connect(&options(url, settings), &mut |_| {})
}

pub(crate) fn connect_notified(
    options: &LoadOptions,
    notify: &mut dyn FnMut(&str),
) -> Result<Box<dyn Session>, EngineError> {
    OpenAi.connect(options, notify)
}

pub(crate) fn connect_with(options: &LoadOptions) -> Result<Box<dyn Session>, EngineError> {
    OpenAi.connect(options, &mut |_| {})
}

/// Problem and advice of an error, with `URL` in the place of the server's address.
pub(crate) fn shown(error: &EngineError, url: &str) -> String {
    error.with_advice().replace(url, "URL")
}
