//! Texts with places to be filled: `{{name}}`.

/// A text with every place filled.
///
/// # Panics
/// If a place has no value: templates are part of this crate.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("a place ends");
        let value = values.iter().find(|(known, _)| *known == name);
        out += before;
        out += value.unwrap_or_else(|| panic!("nothing to put in place of {name}")).1;
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_templates() {
        let values = [("a", "{{b}}"), ("b", "2")];
        assert_eq!(fill("x {{a}} {{b}}{{b}} y", &values), "x {{b}} 22 y");
    }
}
