//! An enum of outputs.

use quadrille::Outputs;

#[derive(Outputs)]
enum Named {
    Reserved { sku: u32 },
}

#[derive(Outputs)]
enum Two {
    Both((), ()),
}

#[derive(Outputs)]
struct NamedStruct {
    sku: (),
}

#[derive(Outputs)]
union Either {
    sku: u32,
}

fn main() {}
