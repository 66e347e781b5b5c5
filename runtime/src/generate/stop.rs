//! Stop strings: the text up to the first of them, as soon as it is sure.

/// Looks for stop strings in a stream of text.
#[derive(Clone, Debug, Default)]
pub struct StopScanner {
    stops: Vec<String>,
    /// The end of the text so far that may be the beginning of a stop string.
    held: String,
}

impl StopScanner {
    /// A stream at its beginning. An empty stop string stops nothing.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// The text that is sure with this piece, and whether a stop string ends it.
    pub fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop)).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let rest = self.held.split_off(self.held.len() - self.doubtful());
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What is still held at the end of the stream.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length of the longest end of the text that begins a stop string.
    fn doubtful(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        starts.into_iter().find(|end| self.stops.iter().any(|stop| stop.starts_with(end))).map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool, String) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut scanner = StopScanner::new(&stops);
        let mut texts = Vec::new();
        for piece in pieces {
            let (text, stopped) = scanner.push(piece);
            texts.push(text);
            if stopped {
                return (texts, true, scanner.finish());
            }
        }
        (texts, false, scanner.finish())
    }

    fn expect(stops: &[&str], pieces: &[&str], texts: &[&str], stopped: bool, rest: &str) {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(scan(stops, pieces), (texts, stopped, rest.to_owned()));
    }

    #[test]
    fn a_stop_may_span_pieces() {
        expect(&["END"], &["a E", "N", "D b"], &["a ", "", ""], true, "");
        expect(&["END"], &["a E", "N", "o"], &["a ", "", "ENo"], false, "");
        expect(&["END"], &["a EN"], &["a "], false, "EN");
    }

    #[test]
    fn the_first_stop_counts() {
        expect(&["b", "a"], &["xaxb"], &["x"], true, "");
        expect(&["\n\n", "。"], &["é\n", "\n"], &["é", ""], true, "");
        expect(&["aab"], &["aaab"], &["a"], true, "");
    }

    #[test]
    fn without_stops_nothing_waits() {
        expect(&[], &["a", "b"], &["a", "b"], false, "");
        expect(&[""], &["a", "b"], &["a", "b"], false, "");
    }
}
