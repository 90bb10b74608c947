//! Why a template cannot be parsed or rendered.

/// What kind of reason it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chat) enum Kind {
    /// The source is not Jinja.
    Syntax,
    /// Jinja has the construct, this renderer does not.
    Unsupported,
    /// A limit of steps, of text or of nesting is exceeded.
    Limit,
    /// The template called `raise_exception`.
    Raised,
    /// Python would raise an error: a wrong type, an undefined value, a missing argument.
    Error,
}

/// A reason with its line in the template.
#[derive(Debug, Clone)]
pub(in crate::chat) struct Failure(Box<Reason>);

#[derive(Debug, Clone)]
struct Reason {
    kind: Kind,
    message: String,
    line: Option<usize>,
}

/// A value, or why there is none.
pub(super) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Reason { kind, message: message.into(), line: None }))
    }

    pub(super) fn error(message: impl Into<String>) -> Self {
        Self::new(Kind::Error, message)
    }

    pub(super) fn syntax(line: usize, message: impl Into<String>) -> Self {
        Self::new(Kind::Syntax, message).at(line)
    }

    pub(super) fn unsupported(construct: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, construct)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(Kind::Limit, message)
    }

    /// Sets the line, unless an inner construct has set it.
    pub(super) fn at(mut self, line: usize) -> Self {
        self.0.line.get_or_insert(line);
        self
    }

    pub(in crate::chat) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(in crate::chat) fn message(&self) -> &str {
        &self.0.message
    }

    /// The line of the template, from 1.
    pub(in crate::chat) fn line(&self) -> Option<usize> {
        self.0.line
    }
}
