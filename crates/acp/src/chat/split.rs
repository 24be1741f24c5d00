/// Cuts `text` into pieces of at most `limit` characters: at the last line break of a piece, else at its last blank, else
/// where it is full. Pieces hold everything but the white space at the cuts.
pub(super) fn split(text: &str, limit: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(limit) {
        let full = &rest[..end];
        let cut = full.rfind('\n').or_else(|| full.rfind(' ')).filter(|at| *at > 0).unwrap_or(end);
        pieces.push(rest[..cut].trim_end());
        rest = rest[cut..].trim_start();
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(rest);
    }
    pieces.retain(|piece| !piece.is_empty() || text.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_whole() {
        assert_eq!(split("", 5), [""]);
        assert_eq!(split("abcde", 5), ["abcde"]);
        assert_eq!(split("ééééé", 5), ["ééééé"]);
    }

    #[test]
    fn long_texts_are_cut_where_it_hurts_least() {
        assert_eq!(split("one\ntwo three", 8), ["one", "two", "three"]);
        assert_eq!(split("one two three", 8), ["one two", "three"]);
        assert_eq!(split("éééééééé", 3), ["ééé", "ééé", "éé"]);
    }

    #[test]
    fn no_piece_is_too_long_and_nothing_but_white_space_is_lost() {
        let text = "word ".repeat(3000) + &"x".repeat(9000);
        let pieces = split(&text, 3500);

        assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.chars().count() <= 3500));
        let kept = |text: &str| text.chars().filter(|character| !character.is_whitespace()).count();
        assert_eq!(pieces.iter().map(|piece| kept(piece)).sum::<usize>(), kept(&text));
    }
}
