//! What each request asks for: the one table that authorization goes by. Who may do what is not
//! here. A request without a row does not compile.

use crate::wire::to_server::Request;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Be connected, and ask for nothing.
    Connect,
    /// Publish to a topic, at once or later.
    Publish,
    /// Be handed what is for a group, and settle it.
    Consume,
    /// Read events of a topic.
    Read,
    /// See how topics, groups, sagas and the bus are doing.
    Observe,
    /// Decide what becomes of a group's dead letters.
    Resolve,
    /// Create, change, pause and delete.
    Manage,
}

/// To what it would be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The bus as a whole.
    Bus,
    /// Every topic that the request names, by name, number, timer or through its group.
    Topic,
    /// The group that the request names, by name, member or token.
    Group,
}

/// A request, and all that who sends it must be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number in the `oneof`.
    pub number: u32,
    /// Its name, for logs and people.
    pub name: &'static str,
    /// What it takes; all of it.
    pub takes: &'static [(Action, Scope)],
}

macro_rules! requests {
    ($($number:literal $variant:ident: $($action:ident $scope:ident)&+,)*) => {
        /// Every request, in the order of the numbers.
        pub const REQUESTS: &[Row] = &[$(Row {
            number: $number,
            name: stringify!($variant),
            takes: &[$((Action::$action, Scope::$scope)),+],
        }),*];

        /// The row of a request.
        #[must_use]
        pub fn row(request: &Request) -> &'static Row {
            match request {
                $(Request::$variant(_) => const {
                    &Row {
                        number: $number,
                        name: stringify!($variant),
                        takes: &[$((Action::$action, Scope::$scope)),+],
                    }
                },)*
            }
        }
    };
}

requests! {
    3 Publish: Publish Topic,
    4 Step: Consume Group & Publish Topic,
    5 Ack: Consume Group,
    6 Settle: Consume Group,
    7 Start: Consume Group,
    8 Renew: Consume Group,
    16 Hello: Connect Bus,
    17 Ping: Connect Bus,
    18 Flush: Connect Bus,
    19 Close: Connect Bus,
    24 Join: Consume Group & Read Topic,
    25 Attach: Consume Group,
    26 Drain: Consume Group,
    27 Leave: Consume Group,
    32 CreateTopic: Manage Topic,
    33 AlterTopic: Manage Topic,
    34 DeleteTopic: Manage Topic,
    36 CreateGroup: Manage Group & Read Topic,
    37 AlterGroup: Manage Group & Read Topic,
    38 DeleteGroup: Manage Group,
    39 PauseGroup: Manage Group,
    40 ResumeGroup: Manage Group,
    44 CancelTimer: Publish Topic,
    45 Resolve: Resolve Group,
    48 ListTopics: Observe Topic,
    49 ListGroups: Observe Group,
    50 Read: Read Topic,
    51 ListDeadLetters: Observe Bus,
    52 ListSagas: Observe Bus,
    53 GetSaga: Observe Bus,
    54 Why: Observe Group,
    55 ListEdges: Observe Bus,
    56 GetInfo: Observe Bus,
}
