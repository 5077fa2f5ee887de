//! Which span stands where in its trace.

use crate::ast::{Form, Intrinsic, Kin, Relation};

/// What stands above a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: the span says that it is a root.
    None,
    /// A span that is not, or not yet, in the trace.
    Missing,
    /// The span with this index.
    Span(usize),
}

/// The forest that a trace's spans form, numbered as nested sets.
///
/// Any parents will do. A span whose parent is missing is the top of a tree of its own, and so is the lowest index of a
/// cycle. Trees are numbered roots first, each in the order of indices, and siblings alike. Takes linear time and no stack.
///
/// ```
/// use traceql::{Intrinsic, Parent, Structure};
///
/// let parents = [Parent::None, Parent::Span(0), Parent::Span(0), Parent::Missing];
/// let structure = Structure::new(parents.len(), |span| parents[span]);
/// assert_eq!(structure.value(Intrinsic::NestedSetLeft, 2), Some(4));
/// assert_eq!(structure.value(Intrinsic::ChildCount, 0), Some(2));
/// ```
#[derive(Clone, Debug)]
pub struct Structure {
    parents: Vec<Parent>,
    /// Parents before their children.
    order: Vec<usize>,
    left: Vec<usize>,
    right: Vec<usize>,
    child_counts: Vec<usize>,
}

impl Structure {
    /// The structure of spans 0 to `len` with these parents.
    pub fn new(len: usize, parent: impl Fn(usize) -> Parent) -> Structure {
        let mut parents: Vec<_> = (0..len)
            .map(|span| match parent(span) {
                Parent::Span(above) if above >= len => Parent::Missing,
                parent => parent,
            })
            .collect();
        break_cycles(&mut parents);

        // The children of all spans in one list, those of span `s` from `starts[s]` to `starts[s + 1]`.
        let mut starts = vec![0; len + 1];
        for parent in &parents {
            if let Parent::Span(above) = *parent {
                starts[above + 1] += 1;
            }
        }
        let child_counts = starts[1..].to_vec();
        for span in 0..len {
            starts[span + 1] += starts[span];
        }
        let mut children = vec![0; starts[len]];
        let mut free = starts.clone();
        for (span, parent) in parents.iter().enumerate() {
            if let Parent::Span(above) = *parent {
                children[free[above]] = span;
                free[above] += 1;
            }
        }

        let mut order = Vec::with_capacity(len);
        let mut left = vec![0; len];
        let mut right = vec![0; len];
        let mut number = 1;
        let mut path = Vec::new();
        let tops = |kind| {
            (0..len)
                .zip(&parents)
                .filter(move |(_, parent)| **parent == kind)
        };
        for (top, _) in tops(Parent::None).chain(tops(Parent::Missing)) {
            path.push((top, starts[top]));
            left[top] = number;
            number += 1;
            order.push(top);
            while let Some((span, next)) = path.last_mut() {
                if *next < starts[*span + 1] {
                    let child = children[*next];
                    *next += 1;
                    left[child] = number;
                    order.push(child);
                    path.push((child, starts[child]));
                } else {
                    right[*span] = number;
                    path.pop();
                }
                number += 1;
            }
        }
        Structure {
            parents,
            order,
            left,
            right,
            child_counts,
        }
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is no span.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The parent of a span, in a forest without cycles.
    ///
    /// # Panics
    /// If there is no such span.
    pub fn parent(&self, span: usize) -> Parent {
        self.parents[span]
    }

    /// The value of an intrinsic that [is structural](Intrinsic::is_structural); `None` for any other.
    ///
    /// # Panics
    /// If there is no such span.
    pub fn value(&self, intrinsic: Intrinsic, span: usize) -> Option<i64> {
        let number = match intrinsic {
            Intrinsic::ChildCount => self.child_counts[span],
            Intrinsic::NestedSetLeft => self.left[span],
            Intrinsic::NestedSetRight => self.right[span],
            Intrinsic::NestedSetParent => match self.parents[span] {
                Parent::None => return Some(-1),
                Parent::Missing => 0,
                Parent::Span(above) => self.left[above],
            },
            _ => return None,
        };
        i64::try_from(number).ok()
    }

    /// What `left <relation> right` returns, ascending.
    pub(crate) fn related(
        &self,
        relation: Relation,
        left: &[usize],
        right: &[usize],
    ) -> Vec<usize> {
        let is_related = self.reached(relation.kin, left);
        match relation.form {
            Form::Right => right
                .iter()
                .copied()
                .filter(|span| is_related[*span])
                .collect(),
            Form::Not => right
                .iter()
                .copied()
                .filter(|span| !is_related[*span])
                .collect(),
            Form::Union => {
                let back = match relation.kin {
                    Kin::Child => Kin::Parent,
                    Kin::Parent => Kin::Child,
                    Kin::Descendant => Kin::Ancestor,
                    Kin::Ancestor => Kin::Descendant,
                    Kin::Sibling => Kin::Sibling,
                };
                let is_back_related = self.reached(back, right);
                let mut both: Vec<_> = right
                    .iter()
                    .copied()
                    .filter(|span| is_related[*span])
                    .collect();
                both.extend(left.iter().copied().filter(|span| is_back_related[*span]));
                both.sort_unstable();
                both.dedup();
                both
            }
        }
    }

    /// For each span whether it is so related to any of `from`.
    fn reached(&self, kin: Kin, from: &[usize]) -> Vec<bool> {
        let len = self.parents.len();
        let mut reached = vec![false; len];
        let mut is_from = vec![false; len];
        from.iter().for_each(|span| is_from[*span] = true);
        match kin {
            Kin::Child => {
                for (span, parent) in self.parents.iter().enumerate() {
                    reached[span] = matches!(parent, Parent::Span(above) if is_from[*above]);
                }
            }
            Kin::Parent => {
                for span in from {
                    if let Parent::Span(above) = self.parents[*span] {
                        reached[above] = true;
                    }
                }
            }
            Kin::Descendant => {
                for span in &self.order {
                    if let Parent::Span(above) = self.parents[*span] {
                        reached[*span] = is_from[above] || reached[above];
                    }
                }
            }
            Kin::Ancestor => {
                for span in self.order.iter().rev() {
                    if let Parent::Span(above) = self.parents[*span] {
                        reached[above] |= is_from[*span] || reached[*span];
                    }
                }
            }
            Kin::Sibling => {
                // How many of `from` each span has below it; the roots' are counted one beyond the spans.
                let mut counts = vec![0_usize; len + 1];
                let group = |span: usize| match self.parents[span] {
                    Parent::None => Some(len),
                    Parent::Missing => None,
                    Parent::Span(above) => Some(above),
                };
                from.iter()
                    .filter_map(|span| group(*span))
                    .for_each(|group| counts[group] += 1);
                for (span, reached) in reached.iter_mut().enumerate() {
                    let others = group(span).map_or(0, |group| counts[group]);
                    *reached = others > usize::from(is_from[span]);
                }
            }
        }
        reached
    }
}

/// Takes the lowest index of each cycle off its parent.
fn break_cycles(parents: &mut [Parent]) {
    // By which walk a span was seen first; zero is none.
    let mut seen = vec![0; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut span = start;
        while seen[span] == 0 {
            seen[span] = walk;
            match parents[span] {
                Parent::Span(above) => span = above,
                Parent::None | Parent::Missing => break,
            }
        }
        let Parent::Span(mut next) = parents[span] else {
            continue;
        };
        if seen[span] != walk {
            continue;
        }
        // The walk came back to itself: `span` is on a cycle.
        let mut lowest = span;
        while next != span {
            lowest = lowest.min(next);
            match parents[next] {
                Parent::Span(above) => next = above,
                Parent::None | Parent::Missing => break,
            }
        }
        parents[lowest] = Parent::Missing;
    }
}
