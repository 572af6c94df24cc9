//! Finds the requests in the octets of a connection: a request is a run of lines ended by line
//! feeds, then an empty line. Requests may come in pieces of any size, and several at once.

use mppd_engine::Request;
use mppd_engine::request::Malformed;

use super::skip::Skip;

/// Most octets that a decoder keeps room for while nothing of a request has come.
const IDLE_CAPACITY: usize = 2_048;

/// How much a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most octets in one line, without its end.
    pub line: usize,
    /// Most octets in one request.
    pub request: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { line: 16 << 10, request: 64 << 10 }
    }
}

impl Limits {
    /// Checks a request that has come so far, to somewhere in a line or to its end.
    pub(super) fn check(
        self,
        line: usize,
        line_length: usize,
        octets: usize,
    ) -> Result<(), BadInput> {
        if line_length > self.line {
            return Err(BadInput::LineTooLong { line, limit: self.line });
        }
        if octets >= self.request {
            return Err(BadInput::RequestTooLong { limit: self.request });
        }
        Ok(())
    }
}

/// Octets that no Postfix sends. The connection cannot be used any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadInput {
    /// A line over the limit.
    #[error("line {line} is longer than {limit} octets (max_line)")]
    LineTooLong {
        /// Number of the line, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// A request over the limit.
    #[error("the request is longer than {limit} octets (max_request)")]
    RequestTooLong {
        /// The limit.
        limit: usize,
    },
    /// Lines that are no request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer closed the connection inside a request.
    #[error("the connection was closed inside a request, after {octets} octets")]
    Cut {
        /// How much had come.
        octets: usize,
    },
}

/// Cuts a stream of octets into requests.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buffer: Vec<u8>,
    /// Up to here no unseen line end stands.
    scanned: usize,
    line_start: usize,
    line: usize,
    /// Up to here the lines of an unfinished request are known to be attributes.
    checked: usize,
}

impl Decoder {
    /// A decoder with nothing read yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Decoder { limits, buffer: Vec::new(), scanned: 0, line_start: 0, line: 1, checked: 0 }
    }

    /// Where octets are read into, at its end.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Whether nothing of a next request has come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The octets that have come and are not yet part of a request that was handed out.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.buffer
    }

    /// Octets of memory taken up by what has come.
    #[must_use]
    pub fn held(&self) -> usize {
        if self.buffer.is_empty() { 0 } else { self.buffer.capacity() }
    }

    /// Forgets what has come of a request that is not whole; the rest of it can be passed over.
    pub fn give_up(&mut self) -> Skip {
        let (octets, line) = (self.buffer.len(), self.line);
        let skip = Skip::after(self.limits, octets, line, octets - self.line_start);
        self.buffer = Vec::new();
        self.begin();
        skip
    }

    /// The next whole request, if it has come.
    ///
    /// # Errors
    /// Octets that can't become a request, whatever follows.
    pub fn decode(&mut self) -> Result<Option<Request>, BadInput> {
        while let Some(length) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let end = self.scanned + length;
            self.check_line(end)?;
            self.scanned = end + 1;
            if end == self.line_start {
                return self.take().map(Some);
            }
            self.line_start = end + 1;
            self.line += 1;
        }
        self.scanned = self.buffer.len();
        self.check_line(self.scanned)?;
        self.check_attributes()?;
        Ok(None)
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// When it ended inside a request.
    pub fn finish(&self) -> Result<(), BadInput> {
        match self.buffer.len() {
            0 => Ok(()),
            octets => Err(BadInput::Cut { octets }),
        }
    }

    fn check_line(&self, end: usize) -> Result<(), BadInput> {
        self.limits.check(self.line, end - self.line_start, end)
    }

    /// Looks at the lines of a request that has not ended: one that is no attribute may be all that
    /// comes, as from a peer that ends its lines with CR LF.
    fn check_attributes(&mut self) -> Result<(), BadInput> {
        let lines = &self.buffer[self.checked..self.line_start];
        let first = self.line - memchr::memchr_iter(b'\n', lines).count();
        for (number, line) in (first..).zip(lines.split_inclusive(|octet| *octet == b'\n')) {
            Request::check_line(line, number)?;
        }
        self.checked = self.line_start;
        Ok(())
    }

    fn take(&mut self) -> Result<Request, BadInput> {
        // Bad octets stay in the buffer, where they can be looked at.
        let request = Request::parse(&self.buffer[..self.scanned])?;
        self.buffer.drain(..self.scanned);
        if self.buffer.is_empty() && self.buffer.capacity() > IDLE_CAPACITY {
            // A connection may say nothing for hours after a long request.
            self.buffer = Vec::new();
        }
        self.begin();
        Ok(request)
    }

    /// From here on all is of the next request.
    fn begin(&mut self) {
        (self.scanned, self.line_start, self.line, self.checked) = (0, 0, 1, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REQUEST: &[u8] = b"request=smtpd_access_policy\nsender=a=b\n\n";

    fn decoder(octets: &[u8]) -> Decoder {
        let mut decoder = Decoder::new(Limits { line: 40, request: 100 });
        decoder.buffer().extend_from_slice(octets);
        decoder
    }

    #[test]
    fn a_request_in_single_octets_is_found_when_it_is_whole() {
        let mut decoder = decoder(b"");
        for octet in &REQUEST[..REQUEST.len() - 1] {
            decoder.buffer().push(*octet);
            assert_eq!(decoder.decode(), Ok(None));
        }
        decoder.buffer().push(b'\n');
        assert_eq!(decoder.decode().unwrap().unwrap().octets(), REQUEST);
        assert!(decoder.is_empty());
    }

    #[test]
    fn several_requests_at_once_come_one_after_the_other() {
        let mut decoder = decoder(&REQUEST.repeat(2));
        assert!(decoder.decode().unwrap().is_some());
        assert!(decoder.decode().unwrap().is_some());
        assert_eq!(decoder.decode(), Ok(None));
        assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_ends() {
        let mut exact = decoder(&[b'x'; 40]);
        assert_eq!(exact.decode(), Ok(None));
        let mut over = decoder(&[b'x'; 41]);
        assert_eq!(over.decode(), Err(BadInput::LineTooLong { line: 1, limit: 40 }));
    }

    #[test]
    fn a_request_over_the_limit_is_refused_before_it_ends() {
        let mut decoder = decoder(&b"name=0123456789\n".repeat(7));
        assert_eq!(decoder.decode(), Err(BadInput::RequestTooLong { limit: 100 }));
    }

    #[test]
    fn an_end_inside_a_request_is_told_from_one_between_two() {
        assert_eq!(decoder(b"").finish(), Ok(()));
        assert_eq!(decoder(b"a=b\n").finish(), Err(BadInput::Cut { octets: 4 }));
    }

    #[test]
    fn a_line_that_is_no_attribute_is_refused_before_the_request_ends() {
        let mut decoder = decoder(b"request=smtpd_access_policy\r\n");
        assert_eq!(decoder.decode(), Ok(None));
        decoder.buffer().extend_from_slice(b"a=b\r\n\r\n");
        assert_eq!(decoder.decode(), Err(BadInput::Malformed(Malformed::NoEquals { line: 3 })));
    }

    #[test]
    fn nothing_large_is_kept_behind_a_long_request() {
        let mut decoder = Decoder::new(Limits::default());
        let long =
            [b"request=smtpd_access_policy\nx=".as_slice(), &[b'x'; 9_000], b"\n\n"].concat();
        decoder.buffer().extend_from_slice(&long);
        assert!(decoder.held() >= long.len());
        assert!(decoder.decode().unwrap().is_some());
        assert_eq!(decoder.held(), 0);
        assert!(decoder.buffer().capacity() <= IDLE_CAPACITY);
    }

    #[test]
    fn an_empty_first_line_is_no_request() {
        assert_eq!(decoder(b"\n").decode(), Err(BadInput::Malformed(Malformed::Empty)));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_however_it_is_cut(
            requests in prop::collection::vec(
                prop::collection::vec(
                    ("[a-z_]{1,8}", prop::collection::vec(
                        any::<u8>().prop_filter("framing", |o| !matches!(*o, 0 | b'\n')), 0..40,
                    )),
                    0..8,
                ),
                1..5,
            ),
            cut in 1usize..50,
        ) {
            let requests: Vec<Request> = requests
                .into_iter()
                .map(|attributes| attributes.into_iter().filter(|(name, _)| name != "request"))
                .map(|attributes| Request::from_attributes(attributes).unwrap())
                .collect();
            let stream: Vec<u8> =
                requests.iter().flat_map(|request| request.octets().to_vec()).collect();
            let mut decoder = Decoder::new(Limits::default());
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.buffer().extend_from_slice(piece);
                while let Some(request) = decoder.decode().unwrap() {
                    found.push(request);
                }
            }
            prop_assert_eq!(found, requests);
            prop_assert!(decoder.is_empty());
        }

        #[test]
        fn no_octets_make_it_panic_or_keep_more_than_the_limits(
            octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'=')], 0..400),
            cut in 1usize..50,
        ) {
            let limits = Limits { line: 40, request: 100 };
            let mut decoder = Decoder::new(limits);
            'stream: for piece in octets.chunks(cut) {
                decoder.buffer().extend_from_slice(piece);
                loop {
                    match decoder.decode() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(decoder.pending().len() <= limits.request);
            }
        }
    }
}
