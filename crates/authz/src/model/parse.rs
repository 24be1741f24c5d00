use std::collections::BTreeMap;

use super::schema::{AllowedSubject, Definition, Expression, Schema, SubjectForm};

/// Why a schema is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct SchemaError {
    /// Where, counting from 1.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl Schema {
    /// Reads the schema language of SpiceDB, as far as this model uses it: definitions with relations and permissions,
    /// wildcards, usersets, caveats by name, and `+`, `&`, `-` and `->`. Different operators in one expression need
    /// parentheses, so that no reader has to know which binds tighter.
    ///
    /// # Errors
    /// The first thing that is not understood, or a name that nothing defines.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let mut parser = Parser { tokens: tokenize(text)?, next: 0 };
        let mut schema = Self { definitions: BTreeMap::new(), caveats: Vec::new() };
        while let Some(word) = parser.take_word() {
            match word.as_str() {
                "caveat" => schema.caveats.push(parser.caveat()?),
                "definition" => {
                    let (name, definition) = parser.definition()?;
                    if schema.definitions.insert(name.clone(), definition).is_some() {
                        return Err(parser.error(format!("`{name}` is defined twice")));
                    }
                }
                other => return Err(parser.error(format!("expected `definition` or `caveat`, found `{other}`"))),
            }
        }
        if parser.next < parser.tokens.len() {
            return Err(parser.error("expected `definition` or `caveat`".to_owned()));
        }
        schema.check_names().map_err(|text| SchemaError { line: 1, text })?;
        Ok(schema)
    }

    /// Every name that is used must be defined, so that a typing error cannot silently mean "nobody".
    fn check_names(&self) -> Result<(), String> {
        for (kind, definition) in &self.definitions {
            for (relation, subjects) in &definition.relations {
                for subject in subjects {
                    let place = format!("{kind}#{relation}");
                    let target = self.definitions.get(&subject.kind);
                    let target = target.ok_or_else(|| format!("{place}: nothing defines `{}`", subject.kind))?;
                    if let SubjectForm::Userset(name) = &subject.form
                        && !target.relations.contains_key(name)
                    {
                        return Err(format!("{place}: `{}` has no relation `{name}`", subject.kind));
                    }
                    if let Some(caveat) = &subject.caveat
                        && !self.caveats.contains(caveat)
                    {
                        return Err(format!("{place}: nothing defines the caveat `{caveat}`"));
                    }
                }
            }
            for (permission, expression) in &definition.permissions {
                self.check_expression(definition, expression).map_err(|text| format!("{kind}#{permission}: {text}"))?;
            }
        }
        Ok(())
    }

    fn check_expression(&self, definition: &Definition, expression: &Expression) -> Result<(), String> {
        match expression {
            Expression::Reference(name) if definition.has(name) => Ok(()),
            Expression::Reference(name) => Err(format!("nothing defines `{name}`")),
            Expression::Arrow { relation, target } => {
                let subjects = definition.relations.get(relation);
                let subjects = subjects.ok_or_else(|| format!("`{relation}` is not a relation"))?;
                let knows = |subject: &AllowedSubject| {
                    self.definitions.get(&subject.kind).is_some_and(|found| found.has(target))
                };
                if subjects.iter().any(knows) {
                    Ok(())
                } else {
                    Err(format!("nothing behind `{relation}` has `{target}`"))
                }
            }
            Expression::Union(parts) | Expression::Intersection(parts) | Expression::Exclusion(parts) => {
                parts.iter().try_for_each(|part| self.check_expression(definition, part))
            }
        }
    }
}

impl Definition {
    /// Whether the type has a relation or permission of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.relations.contains_key(name) || self.permissions.contains_key(name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Arrow,
    Sign(char),
}

struct Placed {
    token: Token,
    line: usize,
}

fn tokenize(text: &str) -> Result<Vec<Placed>, SchemaError> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("/*") {
            let end = rest.find("*/").ok_or_else(|| SchemaError { line, text: "comment without end".to_owned() })?;
            end + 2
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("->") {
            tokens.push(Placed { token: Token::Arrow, line });
            2
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '/').unwrap_or(rest.len());
            tokens.push(Placed { token: Token::Word(rest[..end].to_owned()), line });
            end
        } else {
            if !first.is_whitespace() {
                tokens.push(Placed { token: Token::Sign(first), line });
            }
            first.len_utf8()
        };
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Placed>,
    next: usize,
}

impl Parser {
    fn error(&self, text: String) -> SchemaError {
        let line = self.tokens.get(self.next.min(self.tokens.len().saturating_sub(1))).map_or(1, |placed| placed.line);
        SchemaError { line, text }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|placed| &placed.token)
    }

    fn take_word(&mut self) -> Option<String> {
        let Some(Token::Word(word)) = self.peek() else { return None };
        let word = word.clone();
        self.next += 1;
        Some(word)
    }

    fn word(&mut self) -> Result<String, SchemaError> {
        self.take_word().ok_or_else(|| self.error("expected a name".to_owned()))
    }

    fn takes(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.next += usize::from(found);
        found
    }

    fn sign(&mut self, sign: char) -> Result<(), SchemaError> {
        if self.takes(sign) { Ok(()) } else { Err(self.error(format!("expected `{sign}`"))) }
    }

    /// `caveat NAME(…) { … }`, of which only the name is kept.
    fn caveat(&mut self) -> Result<String, SchemaError> {
        let name = self.word()?;
        while !self.takes('{') {
            self.skip()?;
        }
        while !self.takes('}') {
            self.skip()?;
        }
        Ok(name)
    }

    fn skip(&mut self) -> Result<(), SchemaError> {
        if self.peek().is_none() {
            return Err(self.error("unexpected end".to_owned()));
        }
        self.next += 1;
        Ok(())
    }

    fn definition(&mut self) -> Result<(String, Definition), SchemaError> {
        let name = self.word()?;
        let mut definition = Definition::default();
        self.sign('{')?;
        while !self.takes('}') {
            let (kind, member) = (self.word()?, self.word()?);
            if definition.has(&member) {
                return Err(self.error(format!("`{member}` is defined twice")));
            }
            match kind.as_str() {
                "relation" => {
                    self.sign(':')?;
                    let mut subjects = vec![self.subject()?];
                    while self.takes('|') {
                        subjects.push(self.subject()?);
                    }
                    definition.relations.insert(member, subjects);
                }
                "permission" => {
                    self.sign('=')?;
                    let expression = self.expression()?;
                    definition.permissions.insert(member, expression);
                }
                other => return Err(self.error(format!("expected `relation` or `permission`, found `{other}`"))),
            }
        }
        Ok((name, definition))
    }

    fn subject(&mut self) -> Result<AllowedSubject, SchemaError> {
        let kind = self.word()?;
        let form = if self.takes('#') {
            SubjectForm::Userset(self.word()?)
        } else if self.takes(':') {
            self.sign('*')?;
            SubjectForm::Wildcard
        } else {
            SubjectForm::Object
        };
        let with = self.peek() == Some(&Token::Word("with".to_owned()));
        self.next += usize::from(with);
        let caveat = if with { Some(self.word()?) } else { None };
        Ok(AllowedSubject { kind, form, caveat })
    }

    fn expression(&mut self) -> Result<Expression, SchemaError> {
        let first = self.operand()?;
        let operator = match self.peek() {
            Some(Token::Sign(sign @ ('+' | '&' | '-'))) => *sign,
            _ => return Ok(first),
        };
        let mut parts = vec![first];
        while self.takes(operator) {
            parts.push(self.operand()?);
        }
        if let Some(Token::Sign('+' | '&' | '-')) = self.peek() {
            return Err(self.error("different operators in one expression need parentheses".to_owned()));
        }
        Ok(match operator {
            '+' => Expression::Union(parts),
            '&' => Expression::Intersection(parts),
            _ => Expression::Exclusion(parts),
        })
    }

    fn operand(&mut self) -> Result<Expression, SchemaError> {
        if self.takes('(') {
            let inner = self.expression()?;
            self.sign(')')?;
            return Ok(inner);
        }
        let name = self.word()?;
        if self.peek() == Some(&Token::Arrow) {
            self.next += 1;
            return Ok(Expression::Arrow { relation: name, target: self.word()? });
        }
        Ok(Expression::Reference(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_agentex_parses() {
        let schema = Schema::parse(super::super::SCHEMA).unwrap();

        let task = &schema.definitions["task"];
        assert_eq!(task.relations.len(), 5);
        assert_eq!(
            task.permissions["cancel"],
            Expression::Intersection(vec![
                Expression::Reference("owner".into()),
                Expression::Reference("internal_tenant_gate".into())
            ])
        );
        assert_eq!(
            schema.definitions["account"].relations["member"][3],
            AllowedSubject { kind: "user".into(), form: SubjectForm::Wildcard, caveat: Some("acting_in".into()) }
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        let refused = |text: &str| Schema::parse(text).unwrap_err().to_string();

        assert_eq!(refused("definition a {\n  relation b c\n}"), "line 2: expected `:`");
        assert!(refused("definition a { permission p = b + c & d\n relation b: a }").contains("parentheses"));
        assert!(refused("definition a { permission p = q }").contains("nothing defines `q`"));
        assert!(refused("definition a { relation r: b }").contains("nothing defines `b`"));
        assert!(refused("definition a { relation r: a#x }").contains("no relation `x`"));
        assert!(refused("definition a { relation r: a with c }").contains("caveat `c`"));
        assert!(refused("definition a {} definition a {}").contains("twice"));
        assert!(refused("definition a {").contains("expected a name"));
        assert!(refused("/* open").contains("without end"));
    }
}
