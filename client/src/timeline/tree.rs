//! Events as a tree of causes: who hangs below whom. How a tree is drawn is not here.

use super::{GroupState, Timeline, TimelineEvent};

/// Deeper than this, an effect hangs beside its cause: nobody reads further to the right.
const DEEPEST: usize = 40;

/// One line of a tree.
pub(super) enum Node<'a> {
    Event(&'a TimelineEvent),
    /// A group that has to do something about the event above, or did it in an unusual way.
    Group(&'a TimelineEvent, &'a GroupState),
}

/// A node, and where it hangs: for every level above it whether more follows there.
pub(super) struct Hung<'a> {
    pub(super) node: Node<'a>,
    pub(super) follows: Vec<bool>,
}

/// All nodes, from the top.
pub(super) fn hang(timeline: &Timeline) -> Vec<Hung<'_>> {
    let events = &timeline.events;
    // Whoever an event hangs below comes before it in the log, so there is no loop.
    let mut depths: Vec<usize> = Vec::with_capacity(events.len());
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); events.len() + 1];
    let mut parents: Vec<Option<usize>> = Vec::with_capacity(events.len());
    for event in events {
        let cause = event
            .cause
            .and_then(|cause| events.binary_search_by_key(&cause, |it| it.position).ok());
        let depth_of = |it: usize| depths.get(it).copied().unwrap_or(0);
        let parent = match cause.filter(|it| *it < depths.len()) {
            Some(cause) if depth_of(cause) >= DEEPEST => parents.get(cause).copied().flatten(),
            cause => cause,
        };
        if let Some(children) = below.get_mut(parent.unwrap_or(events.len())) {
            children.push(depths.len());
        }
        depths.push(parent.map_or(0, |it| depth_of(it) + 1));
        parents.push(parent);
    }
    let roots = below.last().map(Vec::as_slice).unwrap_or_default();
    let mut hung = Vec::new();
    branch(events, &below, nodes(events, roots), &mut Vec::new(), &mut hung);
    hung
}

fn nodes<'a>(events: &'a [TimelineEvent], indexes: &[usize]) -> Vec<(usize, Node<'a>)> {
    let node = |index: &usize| events.get(*index).map(|it| (*index, Node::Event(it)));
    indexes.iter().filter_map(node).collect()
}

fn branch<'a>(
    events: &'a [TimelineEvent],
    below: &[Vec<usize>],
    nodes_here: Vec<(usize, Node<'a>)>,
    follows: &mut Vec<bool>,
    hung: &mut Vec<Hung<'a>>,
) {
    let last = nodes_here.len();
    for (place, (index, node)) in (1..).zip(nodes_here) {
        follows.push(place < last);
        let children = match node {
            Node::Event(event) => {
                let effects = below.get(index).map(Vec::as_slice).unwrap_or_default();
                let told = event.groups.iter().filter(|it| it.state.is_told());
                let groups = told.map(|it| (0, Node::Group(event, it)));
                nodes(events, effects).into_iter().chain(groups).collect()
            }
            Node::Group(..) => Vec::new(),
        };
        hung.push(Hung { node, follows: follows.clone() });
        branch(events, below, children, follows, hung);
        follows.pop();
    }
}
