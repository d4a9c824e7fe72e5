//! Diagnostics for people: each with an excerpt of its file, and the count at the end.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Place, Severity};

/// All of them, errors first, each with file, line, column and excerpt, and a last line that counts them; nothing for none.
/// `colour` adds the escape sequences of terminals.
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let of = |severity| diagnostics.iter().filter(move |d| d.severity == severity);
    let mut text = String::new();
    for diagnostic in of(Severity::Error).chain(of(Severity::Warning)) {
        text += &one(diagnostic, &renderer);
        text += "\n\n";
    }
    if !diagnostics.is_empty() {
        let (errors, warnings) = (of(Severity::Error).count(), of(Severity::Warning).count());
        let plural = |n| if n == 1 { "" } else { "s" };
        let _ = writeln!(text, "{errors} error{}, {warnings} warning{}", plural(errors), plural(warnings));
    }
    text
}

fn one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let file = diagnostic.file.display().to_string();
    let excerpt: Element = match &diagnostic.place {
        Some(place) => Snippet::source(&place.source)
            .line_start(place.line)
            .path(file)
            .annotation(AnnotationKind::Primary.span(octets(place)))
            .into(),
        None => Origin::path(file).into(),
    };
    let help = diagnostic.help.as_deref().map(|help| Level::HELP.message(help));
    renderer.render(&[level.primary_title(&diagnostic.message).element(excerpt).elements(help)])
}

/// The passage as octets of its line.
fn octets(place: &Place) -> Range<usize> {
    let offset = |characters| place.source.char_indices().nth(characters).map_or(place.source.len(), |(at, _)| at);
    let from = place.column.saturating_sub(1);
    offset(from)..offset(from.saturating_add(place.length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(severity: Severity, place: Option<Place>, help: Option<&str>) -> Diagnostic {
        Diagnostic { severity, message: "no".to_owned(), file: "a.toml".into(), place, help: help.map(str::to_owned) }
    }

    #[test]
    fn errors_first_with_excerpts_and_a_count() {
        let place = Place { line: 7, column: 8, length: 4, source: "näme = \"zwö\"".to_owned() };
        let all = [diagnostic(Severity::Warning, None, None), diagnostic(Severity::Error, Some(place), Some("yes"))];
        let expected = "\
error: no
 --> a.toml:7:8
  |
7 | näme = \"zwö\"
  |        ^^^^
  |
  = help: yes

warning: no
--> a.toml

1 error, 1 warning
";
        assert_eq!(render(&all, false), expected);
        assert!(render(&all, true).contains("\x1b["));
        assert_eq!(render(&[], false), "");
    }

    #[test]
    fn a_place_past_the_end_of_its_line_is_shown_there() {
        for source in ["", "x", "\t\u{1b}[2J"] {
            for column in [0, 1, 2, 99] {
                let place = Place { line: 1, column, length: 1, source: source.to_owned() };
                let text = render(&[diagnostic(Severity::Error, Some(place), None)], false);
                assert!(text.contains("--> a.toml:1:") && !text.contains('\u{1b}'), "{text}");
            }
        }
    }
}
