//! Examples of what core does, one file per part, and random histories against a model.

mod failures;
mod groups;
mod lanes;
mod model;
mod observe;
mod publish;
mod random;
mod scale;
mod sessions;
mod supersede;
mod timers;
mod tokens;
mod world;
