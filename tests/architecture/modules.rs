//! [`ModuleGraph`]: which modules of a crate use which of their siblings, and the cycles among them.
//!
//! A module that uses another one makes an edge between the two siblings that contain them: for `a::b::x` and `a::c::y` it is
//! `b -> c` among the children of `a`. A module that uses its own child or an ancestor makes no edge.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;

use super::source::{Binding, Module, Reference, Segments, SourceTree};

/// Which siblings use which.
#[derive(Debug, Default)]
pub(crate) struct ModuleGraph {
    /// The edges among the children of each module.
    levels: BTreeMap<Segments, Level>,
}

/// The edges among the children of one module: (user, used).
type Level = BTreeMap<(String, String), Edge>;

/// How often one sibling uses another, and where first.
#[derive(Debug, Clone)]
struct Edge {
    count: usize,
    first: String,
}

/// Siblings of which each uses each other, directly or through others.
#[derive(Debug)]
pub(crate) struct Cycle {
    parent: Segments,
    members: Vec<String>,
    /// A shortest way round.
    shortest: Vec<(String, String)>,
    level: Level,
}

impl ModuleGraph {
    pub(crate) fn new(tree: &SourceTree) -> Self {
        let mut graph = Self::default();
        for (user, module) in tree.modules.iter().enumerate() {
            for reference in &module.references {
                for used in Resolver::new(tree).modules(user, reference) {
                    graph.add(module, &tree.modules[used], reference.line);
                }
            }
        }
        graph
    }

    fn add(&mut self, user: &Module, used: &Module, line: usize) {
        let common = user.path.iter().zip(&used.path).take_while(|(a, b)| a == b).count();
        let (Some(from), Some(to)) = (user.path.get(common), used.path.get(common)) else { return };
        let level = self.levels.entry(user.path[..common].to_vec()).or_default();
        let first = format!("{}:{line}", user.file);
        level.entry((from.clone(), to.clone())).or_insert(Edge { count: 0, first }).count += 1;
    }

    /// All edges among siblings, as `parent: user -> used`.
    pub(crate) fn edges(&self) -> BTreeSet<String> {
        let named = |(parent, level): (&Segments, &Level)| {
            let parent = shown(parent);
            level.keys().map(|(from, to)| format!("{parent}: {from} -> {to}")).collect::<Vec<_>>()
        };
        self.levels.iter().flat_map(named).collect()
    }

    /// The cycles among siblings, at every level.
    pub(crate) fn cycles(&self) -> Vec<Cycle> {
        self.levels.iter().flat_map(|(parent, level)| level_cycles(parent, level)).collect()
    }

    /// One line per crate with the number of edges, of edges up and of cycles, then one line per module that uses siblings.
    pub(crate) fn overview(&self, name: &str) -> String {
        let edges: usize = self.levels.values().map(BTreeMap::len).sum();
        let up: usize = self.levels.values().map(|level| edges_up(level).len()).sum();
        let mut text = format!("{name}: {edges} edges among siblings, {up} up, {} cycles\n", self.cycles().len());
        for (parent, level) in &self.levels {
            let mut users: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for ((from, to), edge) in level {
                users.entry(from).or_default().push(format!("{to} ({})", edge.count));
            }
            for (user, used) in users {
                let _ = writeln!(text, "  {}: {user} -> {}", shown(parent), used.join(", "));
            }
        }
        text
    }
}

impl Cycle {
    /// The members, a shortest way round, and the edges to remove, each with the first place that makes it.
    pub(crate) fn describe(&self) -> String {
        let place = |edge: &(String, String)| {
            let Edge { count, first } = &self.level[edge];
            format!("    {} -> {}: {first}, {count} in all\n", edge.0, edge.1)
        };
        let mut text = format!("{}: {} use each other\n", shown(&self.parent), self.members.join(", "));
        text += "  a shortest cycle:\n";
        self.shortest.iter().for_each(|edge| text += &place(edge));
        if self.members.len() > 2 {
            text += "  without these edges there is no cycle:\n";
            edges_up(&self.level).iter().for_each(|edge| text += &place(edge));
        }
        text
    }
}

fn shown(parent: &Segments) -> String {
    std::iter::once("crate").chain(parent.iter().map(String::as_str)).collect::<Vec<_>>().join("::")
}

fn level_cycles(parent: &Segments, level: &Level) -> Vec<Cycle> {
    let nodes: BTreeSet<&String> = level.keys().flat_map(|(from, to)| [from, to]).collect();
    let mut cycles: Vec<Cycle> = Vec::new();
    for node in nodes {
        if cycles.iter().any(|cycle| cycle.members.contains(node)) {
            continue;
        }
        let reached = reachable(level, node);
        let members: Vec<String> =
            reached.iter().filter(|other| reachable(level, other).contains(node)).cloned().collect();
        if members.is_empty() {
            continue;
        }
        let inside = |(from, to): &(String, String)| members.contains(from) && members.contains(to);
        let level: Level = level.iter().filter(|(edge, _)| inside(edge)).map(|(k, v)| (k.clone(), v.clone())).collect();
        let rounds = members.iter().filter_map(|member| way_round(&level, member));
        let shortest = rounds.min_by_key(Vec::len).unwrap_or_default();
        cycles.push(Cycle { parent: parent.clone(), members, shortest, level });
    }
    cycles
}

/// The nodes that edges lead to from this one; itself only where it is on a cycle.
fn reachable(level: &Level, start: &String) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for (_, to) in level.keys().filter(|(from, _)| from == node) {
            if reached.insert(to.clone()) {
                open.push(to);
            }
        }
    }
    reached
}

/// The shortest cycle through a node.
fn way_round(level: &Level, start: &String) -> Option<Vec<(String, String)>> {
    let mut before: BTreeMap<&String, &String> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for (from, to) in level.keys().filter(|(from, _)| from == node) {
            if to == start {
                let mut edges = vec![(from.clone(), to.clone())];
                let mut node = from;
                while node != start {
                    edges.push((before[node].clone(), node.clone()));
                    node = before[node];
                }
                edges.reverse();
                return Some(edges);
            }
            if !before.contains_key(to) {
                before.insert(to, from);
                open.push_back(to);
            }
        }
    }
    None
}

/// The edges that lead back up when the modules are in the order that leaves the fewest such edges, as far as a greedy search
/// finds it (Eades, Lin and Smyth, 1993): without them there is no cycle.
fn edges_up(level: &Level) -> Vec<(String, String)> {
    let mut rest: BTreeSet<&String> = level.keys().flat_map(|(from, to)| [from, to]).collect();
    let (mut upper, mut lower) = (Vec::new(), VecDeque::new());
    while !rest.is_empty() {
        let inside = |(from, to): &&(String, String)| rest.contains(from) && rest.contains(to);
        let uses = |node: &String| level.keys().filter(inside).filter(|(from, _)| from == node).count();
        let users = |node: &String| level.keys().filter(inside).filter(|(_, to)| to == node).count();
        let bottom = rest.iter().copied().find(|node| uses(node) == 0);
        let next = bottom.or_else(|| rest.iter().copied().max_by_key(|node| uses(node) as i64 - users(node) as i64));
        let Some(next) = next else { break };
        match bottom {
            Some(node) => lower.push_front(node),
            None => upper.push(next),
        }
        rest.remove(next);
    }
    let order: Vec<&String> = upper.into_iter().chain(lower).collect();
    let place = |node: &String| order.iter().position(|other| *other == node);
    level.keys().filter(|(from, to)| place(from) > place(to)).cloned().collect()
}

/// Finds the modules that a path leads through and to.
struct Resolver<'a> {
    tree: &'a SourceTree,
    /// Names that are being looked up: an import may lead to itself.
    active: HashSet<(usize, String)>,
    /// Modules whose imports or re-exports the path goes through.
    through: BTreeSet<usize>,
}

/// Where a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

impl<'a> Resolver<'a> {
    fn new(tree: &'a SourceTree) -> Self {
        Self { tree, active: HashSet::new(), through: BTreeSet::new() }
    }

    /// The modules of this crate on which a path in this module depends: the one that defines what it names, and those that
    /// re-export it on the way.
    fn modules(mut self, from: usize, reference: &Reference) -> BTreeSet<usize> {
        let mut targets = self.resolve(from, &reference.path);
        if targets.is_empty()
            && reference.is_macro
            && let [name] = reference.path.as_slice()
        {
            // A macro that is in scope because its definition comes first in the source.
            targets.extend(self.tree.macros.get(name).map(|&module| Target::Item(module)));
        }
        let ends = targets.into_iter().map(|target| match target {
            Target::Module(module) | Target::Item(module) => module,
        });
        let mut modules: BTreeSet<usize> = ends.collect();
        modules.append(&mut self.through);
        modules
    }

    fn resolve(&mut self, from: usize, path: &[String]) -> Vec<Target> {
        let mut rest = path.iter();
        let Some(first) = rest.next() else { return Vec::new() };
        let mut targets = match first.as_str() {
            "crate" => vec![Target::Module(0)],
            "self" => vec![Target::Module(from)],
            "super" => self.parent(from),
            name => self.look_up(from, name),
        };
        for name in rest {
            if let Some(&module) = targets.iter().find(|target| matches!(target, Target::Module(_))) {
                let Target::Module(module) = module else { continue };
                targets = match name.as_str() {
                    "super" => self.parent(module),
                    name => {
                        let found = self.look_up(module, name);
                        // A name that a macro defines is not seen here.
                        if found.is_empty() { vec![Target::Item(module)] } else { found }
                    }
                };
            }
            // What follows an item (a variant, an associated function) belongs to the item.
        }
        targets
    }

    fn parent(&self, module: usize) -> Vec<Target> {
        self.tree.modules[module].parent.map(Target::Module).into_iter().collect()
    }

    /// The meanings of a name in a module: it may be a module, a type and a function at once.
    fn look_up(&mut self, module: usize, name: &str) -> Vec<Target> {
        if !self.active.insert((module, name.to_owned())) {
            return Vec::new();
        }
        let tree = self.tree;
        let mut found = Vec::new();
        for binding in tree.modules[module].names.get(name).map(Vec::as_slice).unwrap_or_default() {
            match binding {
                Binding::Module(child) => found.push(Target::Module(*child)),
                Binding::Item(definer) => found.push(Target::Item(*definer)),
                Binding::Import(path) => found.extend(self.follow(module, path)),
            }
        }
        if found.is_empty() {
            for path in &tree.modules[module].globs {
                let modules = self.resolve(module, path);
                for target in modules {
                    if let Target::Module(source) = target {
                        let named = self.look_up(source, name);
                        if !named.is_empty() {
                            self.through.insert(module);
                        }
                        found.extend(named);
                    }
                }
            }
        }
        self.active.remove(&(module, name.to_owned()));
        found
    }

    /// Where an import of a module leads to; nothing where it is of another crate.
    fn follow(&mut self, module: usize, path: &[String]) -> Vec<Target> {
        let targets = self.resolve(module, path);
        if !targets.is_empty() {
            self.through.insert(module);
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Files;
    use super::*;

    /// A small crate; `beta` may have one more line.
    fn fixture(line_in_beta: &str) -> ModuleGraph {
        let beta = format!("pub struct Other;\npub const VALUE: u32 = 1;\n{line_in_beta}\n");
        let files: Files = [
            ("toy/src/lib.rs", "mod marks;\n#[macro_use]\nmod near;\nmod alpha;\nmod beta;\nmod gamma;\npub use alpha::Thing;\n"),
            (
                "toy/src/alpha/mod.rs",
                "mod deep;\nmod shallow;\npub use deep::Thing;\npub use deep::nested;\npub const LIMIT: u32 = 3;\n\
                 fn own() { shallow::run() }\n",
            ),
            (
                "toy/src/alpha/deep.rs",
                "use super::{LIMIT as MOST, own};\nuse super::super::beta::{self, Other as Renamed};\npub struct Thing;\npub mod nested { pub fn call() {} }\n\
                 #[cfg(test)]\nuse crate::gamma::Shown;\n#[cfg(test)]\nmod tests { use crate::gamma::Shown; }\n",
            ),
            (
                "toy/src/alpha/shallow.rs",
                "pub fn run() {}\n#[cfg(all(test, unix))]\nfn check() { crate::gamma::go() }\n\
                 #[cfg(any(test, unix))]\nfn kept() -> super::Thing { todo!() }\n",
            ),
            ("toy/src/beta.rs", &beta),
            (
                "toy/src/gamma.rs",
                "use std::fmt;\nuse rand::rand;\npub struct Shown;\npub fn local(near: u32) { let count = near; twice!(vec![count]) }\npub fn go() { println!(\"{}\", crate::beta::VALUE); crate::note!() }\n",
            ),
            (
                "toy/src/marks.rs",
                "#[macro_export]\nmacro_rules! note { ($name:ident) => { $crate::alpha::nested::call(); $name::gone::away() }; }\n",
            ),
            // Two macros: one is called in `gamma`, the other has the name of a variable there.
            ("toy/src/near.rs", "macro_rules! twice { ($x:expr) => { $x } }\nmacro_rules! count { () => {} }\n"),
        ]
        .into_iter()
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .collect();
        ModuleGraph::new(&SourceTree::parse(&files, "toy/src/lib.rs"))
    }

    #[test]
    fn every_form_of_path_leads_to_the_module_that_defines_the_name() {
        let expected = [
            "crate: alpha -> beta",          // `use` with braces, `super`, `self` and a new name
            "crate: gamma -> beta",          // a path in the tokens of a macro
            "crate: gamma -> marks",         // an exported macro, which is named at the root
            "crate: gamma -> near",          // a macro that is in scope because its module comes first
            "crate: marks -> alpha",         // `$crate` in a macro, through a re-export
            "crate::alpha: shallow -> deep", // a re-export of the parent module
        ];
        assert_eq!(fixture("").edges(), expected.map(str::to_owned).into());
        assert!(fixture("").cycles().is_empty(), "{:#?}", fixture("").cycles());
    }

    #[test]
    fn a_planted_cycle_is_found_with_the_place_of_each_edge() {
        for line in [
            "use crate::Thing;",
            "fn make() -> crate::alpha::Thing { crate::Thing }",
            "fn ask() { assert!(crate::alpha::nested::call()) }",
            "#[serde(default = \"crate::alpha::nested::call\")] struct Field;",
        ] {
            let cycles = fixture(line).cycles();
            let [cycle] = cycles.as_slice() else { panic!("{line}: {cycles:#?}") };
            assert_eq!(cycle.members, ["alpha", "beta"], "{line}");
            let text = cycle.describe();
            assert!(text.contains("alpha -> beta: toy/src/alpha/deep.rs:2, "), "{text}");
            assert!(text.contains("beta -> alpha: toy/src/beta.rs:3, "), "{text}");
        }
    }

    #[test]
    fn a_cycle_through_three_modules_is_found() {
        let graph = fixture("use crate::gamma::Shown;");
        let cycles = graph.cycles();
        let [cycle] = cycles.as_slice() else { panic!("{cycles:#?}") };
        assert_eq!(cycle.members, ["alpha", "beta", "gamma", "marks"]);
        assert_eq!(cycle.shortest.len(), 2, "beta -> gamma -> beta");
        assert!(
            graph.overview("toy").starts_with("toy: 7 edges among siblings, 1 up, 1 cycles\n"),
            "{}",
            graph.overview("toy")
        );
    }

    #[test]
    fn code_for_tests_and_other_crates_makes_no_edge() {
        for line in ["#[cfg(test)] use crate::alpha::LIMIT;", "use ::alpha::LIMIT;", "use alpha::LIMIT;"] {
            assert!(fixture(line).cycles().is_empty(), "{line}");
        }
    }
}
