//! Passes over the octets of a request without keeping them: finds where it ends although there is
//! no room for it, so that it can be answered and the connection be used on.

use mppd_engine::request::Malformed;

use super::codec::{BadInput, Limits};

/// A request that is passed over, up to where it has come.
#[derive(Debug)]
pub struct Skip {
    limits: Limits,
    octets: usize,
    line: usize,
    line_length: usize,
}

impl Skip {
    /// One of which nothing has come.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Skip { limits, octets: 0, line: 1, line_length: 0 }
    }

    /// One of which so many octets have come, the last of them `line_length` octets of the line of
    /// this number, from 1.
    #[must_use]
    pub(super) fn after(limits: Limits, octets: usize, line: usize, line_length: usize) -> Self {
        Skip { limits, octets, line, line_length }
    }

    /// How much of it has come.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Passes over what has come; how many of these octets belong to the request if it is whole
    /// with them.
    ///
    /// # Errors
    /// Octets that can't become a request, whatever follows.
    pub fn pass(&mut self, octets: &[u8]) -> Result<Option<usize>, BadInput> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', octets) {
            self.grow(end - start)?;
            start = end + 1;
            self.octets += 1;
            if self.line_length == 0 {
                return if self.line == 1 { Err(Malformed::Empty.into()) } else { Ok(Some(start)) };
            }
            self.line_length = 0;
            self.line += 1;
        }
        self.grow(octets.len() - start)?;
        Ok(None)
    }

    fn grow(&mut self, octets: usize) -> Result<(), BadInput> {
        self.octets += octets;
        self.line_length += octets;
        self.limits.check(self.line, self.line_length, self.octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::Decoder;
    use super::*;

    const LIMITS: Limits = Limits { line: 40, request: 100 };

    #[test]
    fn the_end_of_a_request_is_found_and_nothing_behind_it_is_passed_over() {
        let mut skip = Skip::new(LIMITS);
        assert_eq!(skip.pass(b"request=smtpd_access_policy\nsen"), Ok(None));
        assert_eq!(skip.pass(b"der=x\n"), Ok(None));
        assert_eq!(skip.pass(b"\nrequest="), Ok(Some(1)));
    }

    #[test]
    fn a_request_that_was_begun_can_be_passed_over_from_there() {
        let request = b"request=smtpd_access_policy\nsender=x\n\n";
        for cut in 0..request.len() {
            let mut decoder = Decoder::new(LIMITS);
            decoder.buffer().extend_from_slice(&request[..cut]);
            assert_eq!(decoder.decode(), Ok(None));
            let mut skip = decoder.give_up();
            assert!(decoder.is_empty());
            assert_eq!(skip.pass(&request[cut..]), Ok(Some(request.len() - cut)), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn it_ends_where_the_decoder_finds_an_end(
            octets in prop::collection::vec(prop_oneof![Just(b'a'), Just(b'\n'), Just(b'=')], 0..200),
            cut in 1usize..50,
        ) {
            // What is no attribute is told by the decoder only.
            let mut octets = octets;
            octets.splice(0..0, *b"request=smtpd_access_policy\n");
            let mut decoder = Decoder::new(LIMITS);
            decoder.buffer().extend_from_slice(&octets);
            let decoded = decoder.decode();
            let (mut skip, mut passed) = (Skip::new(LIMITS), 0);
            let mut end = Ok(None);
            for piece in octets.chunks(cut) {
                end = skip.pass(piece);
                if end != Ok(None) {
                    break;
                }
                passed += piece.len();
            }
            match decoded {
                Ok(Some(request)) => {
                    prop_assert_eq!(end, Ok(Some(request.octets().len() - passed)));
                }
                Ok(None) => prop_assert_eq!(end, Ok(None)),
                Err(BadInput::Malformed(_)) => {}
                Err(fault) => prop_assert_eq!(end, Err(fault)),
            }
        }
    }
}
