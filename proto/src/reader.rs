//! A reader of protobuf's wire format as far as an event needs it: tags, and values that are borrowed.
//! No field of an event is interpreted here.

use crate::error::EventError;

/// Field number and wire type of each field of an event, as they stand before its value.
pub(crate) mod tag {
    const fn len(field: u64) -> u64 {
        field << 3 | 2
    }
    const fn varint(field: u64) -> u64 {
        field << 3
    }
    pub(crate) const ID: u64 = len(1);
    pub(crate) const TYPE: u64 = len(2);
    pub(crate) const SOURCE: u64 = len(3);
    pub(crate) const SAGA: u64 = len(4);
    pub(crate) const KEY: u64 = len(5);
    pub(crate) const SUBJECT: u64 = len(6);
    pub(crate) const TURN: u64 = varint(7);
    pub(crate) const SCHEMA: u64 = varint(8);
    pub(crate) const TIME: u64 = varint(9);
    pub(crate) const CAUSE: u64 = len(10);
    pub(crate) const CONTENT_TYPE: u64 = len(11);
    pub(crate) const TRACEPARENT: u64 = len(12);
    pub(crate) const HEADER: u64 = len(13);
    pub(crate) const DATA: u64 = len(15);
    pub(crate) const HEADER_NAME: u64 = len(1);
    pub(crate) const HEADER_VALUE: u64 = len(2);
}

/// What is left of the bytes.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, EventError> {
        match self.rest {
            [byte @ ..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, EventError> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte <= 0x7f {
                // The tenth byte holds the 64th bit and nothing else.
                if i == 9 && byte > 1 {
                    return Err(EventError::Varint);
                }
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { EventError::Truncated } else { EventError::Varint })
    }

    /// The low 32 bits, as every protobuf reader takes them.
    pub(crate) fn varint32(&mut self) -> Result<u32, EventError> {
        Ok((self.varint()? & 0xffff_ffff) as u32)
    }

    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], EventError> {
        let length = self.varint()?;
        self.take(length)
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], EventError> {
        let split = usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n));
        let (taken, rest) = split.ok_or(EventError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn text(&mut self, field: &'static str) -> Result<&'a str, EventError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| EventError::Utf8 { field })
    }

    /// Passes over a field that this reader has no use for; a known one is here only because of
    /// its wire type.
    #[cold]
    pub(crate) fn skip(
        &mut self,
        tag: u64,
        name_of: fn(u64) -> Option<&'static str>,
    ) -> Result<(), EventError> {
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) {
            return Err(EventError::FieldNumber);
        }
        if let Some(field) = name_of(number) {
            return Err(EventError::WireType { field });
        }
        match tag & 7 {
            0 => self.varint().map(drop),
            1 => self.take(8).map(drop),
            2 => self.bytes().map(drop),
            5 => self.take(4).map(drop),
            _ => Err(EventError::WireType { field: "unknown" }),
        }
    }
}
