//! The syntax tree of a template. Chains of operators and of postfix steps are flat, so that the depth of the tree is bounded by the
//! nesting of brackets and tags, which the parser limits.

use std::sync::Arc;

pub(super) type Body = Vec<Statement>;

/// A tag, an output or a text, with its line.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: StatementKind,
}

#[derive(Debug)]
pub(super) enum StatementKind {
    Text(Arc<str>),
    Output(Expr),
    For(Arc<For>),
    If {
        branches: Vec<(Expr, Body)>,
        otherwise: Body,
    },
    Set {
        target: Target,
        value: Expr,
    },
    SetBlock {
        target: Target,
        filters: Vec<Step>,
        body: Body,
    },
    With {
        bindings: Vec<(Target, Expr)>,
        body: Body,
    },
    Macro(Arc<MacroDefinition>),
    /// `{% call %}`: the call, whose last step is [`StepKind::Call`], gets the body as its `caller`.
    CallBlock {
        call: Expr,
        caller: Arc<MacroDefinition>,
    },
    FilterBlock {
        filters: Vec<Step>,
        body: Body,
    },
    /// `{% generation %}` of transformers: its body, in a scope of its own.
    Generation(Body),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) iterable: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Body,
    pub(super) otherwise: Body,
}

/// A macro, or the body of a call block.
#[derive(Debug)]
pub(super) struct MacroDefinition {
    pub(super) name: Arc<str>,
    /// Parameters with their defaults.
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Body,
    /// Whether the body names `varargs`, `kwargs`, `caller`; a macro that does not refuses such arguments.
    pub(super) takes: Takes,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Takes {
    pub(super) varargs: bool,
    pub(super) kwargs: bool,
    pub(super) caller: bool,
}

#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Attribute { namespace: Arc<str>, name: Arc<str> },
    Tuple(Vec<Self>),
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    Name(Arc<str>),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    Dict(Vec<(Self, Self)>),
    /// Operators of one precedence, applied from the left.
    Binary {
        first: Box<Self>,
        rest: Vec<(BinaryOp, Self)>,
    },
    Concat(Vec<Self>),
    Compare {
        first: Box<Self>,
        rest: Vec<(Comparison, Self)>,
    },
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Negative(Box<Self>),
    Positive(Box<Self>),
    Conditional {
        test: Box<Self>,
        then: Box<Self>,
        otherwise: Option<Box<Self>>,
    },
    Postfix {
        base: Box<Self>,
        steps: Vec<Step>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
}

/// One step after a value, with its line.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    pub(super) kind: StepKind,
}

#[derive(Debug)]
pub(super) enum StepKind {
    Attribute(Arc<str>),
    Item(Expr),
    Slice([Option<Expr>; 3]),
    Call(Arguments),
    Filter { name: Arc<str>, arguments: Arguments },
    Test { name: Arc<str>, arguments: Arguments, negated: bool },
}

#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) keyword: Vec<(Arc<str>, Expr)>,
    /// `*list`
    pub(super) list: Option<Box<Expr>>,
    /// `**dict`
    pub(super) dict: Option<Box<Expr>>,
}
