//! Tests of the format as a whole: generated code, record numbers, golden bytes, hostile bytes.

mod fixtures;
mod generated;
mod records;
mod samples;
mod view;
