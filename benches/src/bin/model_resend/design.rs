//! What the model varies, and what it looks for.

/// What is decided, or left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Design {
    /// A session's receipts survive a restart of the broker.
    pub(crate) receipts_durable: bool,
    /// Whether a restart of the broker ends all deliveries.
    pub(crate) old_token: OldToken,
    /// Ids of outputs derive from the input, and repeats of an id are stored once.
    pub(crate) derived_ids: bool,
}

/// When a token of an older epoch settles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldToken {
    /// It never does.
    Never,
    /// If its event is unsettled and has not been handed out since.
    IfUntouched,
    /// Whatever happened meanwhile.
    Unchecked,
}

impl Design {
    /// What Quadrille does.
    pub(crate) const CHOSEN: Self =
        Self { receipts_durable: true, old_token: OldToken::IfUntouched, derived_ids: true };

    /// Every combination.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for receipts_durable in [true, false] {
            for old_token in [OldToken::IfUntouched, OldToken::Never, OldToken::Unchecked] {
                for derived_ids in [true, false] {
                    all.push(Self { receipts_durable, old_token, derived_ids });
                }
            }
        }
        all
    }

    /// The chosen design with one thing left out.
    pub(crate) fn weakened() -> [Self; 3] {
        [
            Self { receipts_durable: false, ..Self::CHOSEN },
            Self { old_token: OldToken::Never, ..Self::CHOSEN },
            Self { derived_ids: false, ..Self::CHOSEN },
        ]
    }

    /// Receipts, old token and ids, as tables name them.
    pub(crate) fn names(self) -> [&'static str; 3] {
        let receipts = if self.receipts_durable { "durable" } else { "lost" };
        let token = match self.old_token {
            OldToken::Never => "refused",
            OldToken::IfUntouched => "if untouched",
            OldToken::Unchecked => "unchecked",
        };
        [receipts, token, if self.derived_ids { "derived" } else { "random" }]
    }
}

/// How a handler emits its output and settles its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Path {
    /// Both in one entry.
    Step,
    /// A synced publish, and after its receipt a lazy ack.
    PublishThenAck,
}

impl Path {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::PublishThenAck => "publish, ack",
        }
    }
}

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Violation {
    /// The output is there twice.
    Doubled,
    /// The input is settled by two entries.
    SettledTwice,
    /// The input is settled without the output, or nothing more can happen without both.
    Lost,
    /// A member was told that its step or publish is refused, and it is in the log.
    Denied,
    /// A member's finished work was refused although nobody else had or did it.
    Wasted,
}
