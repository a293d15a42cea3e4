//! The end of what a command writes, in bounded memory.

use tokio::io::{AsyncRead, AsyncReadExt};

/// The newest bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    kept: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, cut: false }
    }

    /// Reads until the other side is done. May be dropped and called again.
    pub(crate) async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            self.push(&buffer[..length]);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        // Moved rarely, so that the cost of a byte does not depend on the limit.
        if self.kept.len() > 2 * self.limit {
            self.kept.drain(..self.kept.len() - self.limit);
            self.cut = true;
        }
    }

    /// The last line that is not empty; none when there is none, or an error when it is longer than the limit.
    pub(crate) fn last_line(&self) -> Result<Option<&[u8]>, LineTooLong> {
        let kept = self.kept.trim_ascii_end();
        let start = kept.iter().rposition(|byte| *byte == b'\n').map(|place| place + 1);
        let line = &kept[start.unwrap_or(0)..];
        if line.len() > self.limit || (start.is_none() && self.cut) {
            return Err(LineTooLong(self.limit));
        }
        Ok((!line.is_empty()).then_some(line))
    }

    /// The last lines, up to `lines` of them and the limit.
    pub(crate) fn last_lines(&self, lines: usize) -> String {
        let kept = self.kept.trim_ascii_end();
        let kept = &kept[kept.len().saturating_sub(self.limit)..];
        let breaks = kept.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        let start = breaks.map(|(place, _)| place + 1).nth(lines - 1).unwrap_or(0);
        String::from_utf8_lossy(&kept[start..]).into_owned()
    }
}

/// A line that was not kept whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong(pub(crate) usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(limit: usize, parts: &[&str]) -> Tail {
        let mut tail = Tail::new(limit);
        parts.iter().for_each(|part| tail.push(part.as_bytes()));
        tail
    }

    #[test]
    fn the_last_line_is_found_whatever_came_before() {
        assert_eq!(tail(8, &["first\nsec", "ond\r\n\n"]).last_line(), Ok(Some(&b"second"[..])));
        assert_eq!(tail(8, &["only"]).last_line(), Ok(Some(&b"only"[..])));
        assert_eq!(tail(8, &["\n \n"]).last_line(), Ok(None));
        let long = "x".repeat(100);
        assert_eq!(tail(8, &[&long, "\nend\n"]).last_line(), Ok(Some(&b"end"[..])));
        assert_eq!(tail(8, &["end\n", &long]).last_line(), Err(LineTooLong(8)));
    }

    #[test]
    fn no_more_than_twice_the_limit_is_kept() {
        let mut tail = Tail::new(8);
        (0..1000).for_each(|_| tail.push(b"12345\n"));
        assert!(tail.kept.len() <= 16);
        assert_eq!(tail.last_lines(1), "12345");
    }

    #[test]
    fn the_last_lines_are_whole_ones_where_they_fit() {
        assert_eq!(tail(100, &["a\nb\nc\nd\n"]).last_lines(2), "c\nd");
        assert_eq!(tail(100, &["a"]).last_lines(2), "a");
    }
}
