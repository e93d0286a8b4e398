//! Tokens to [`Text`].

use crate::ParseError;
use crate::syntax::*;
use crate::token::{Located, Token, tokens};

/// Parses a PTX module.
pub fn parse(text: &str) -> Result<Text, ParseError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    parser.module()
}

/// Vectors hold single operands, and pairs two; text that nests further is no PTX.
const MOST_NESTED: u32 = 4;

struct Parser {
    tokens: Vec<Located>,
    at: usize,
}

type Parse<T> = Result<T, ParseError>;

impl Parser {
    fn line(&self) -> u32 {
        self.tokens
            .get(self.at.min(self.tokens.len().saturating_sub(1)))
            .map_or(0, |t| t.line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|t| &t.token)
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(w)) => Some(w),
            _ => None,
        }
    }

    fn is(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    fn accept(&mut self, sign: char) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, what: &str) -> ParseError {
        let found = match self.peek() {
            Some(Token::Word(w)) => w.clone(),
            Some(Token::Text(t)) => format!("\"{t}\""),
            Some(Token::Sign(c)) => c.to_string(),
            None => "the end of the text".to_string(),
        };
        ParseError::Expected {
            line: self.line(),
            expected: what.to_string(),
            found,
        }
    }

    fn expect(&mut self, sign: char) -> Parse<()> {
        if self.accept(sign) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{sign}`")))
        }
    }

    fn word(&mut self) -> Parse<String> {
        match self.peek() {
            Some(Token::Word(w)) => {
                let w = w.clone();
                self.at += 1;
                Ok(w)
            }
            _ => Err(self.expected("a word")),
        }
    }

    fn skip_line(&mut self) {
        let line = self.line();
        while self.at < self.tokens.len() && self.tokens[self.at].line == line {
            self.at += 1;
        }
    }

    fn skip_past(&mut self, sign: char) {
        while self.at < self.tokens.len() && !self.accept(sign) {
            self.at += 1;
        }
    }

    fn module(&mut self) -> Parse<Text> {
        let mut text = Text::default();
        while let Some(token) = self.peek() {
            let Token::Word(word) = token else {
                return Err(self.expected("a directive"));
            };
            match word.as_str() {
                ".version" | ".address_size" | ".file" | ".loc" => self.skip_line(),
                ".target" => {
                    self.at += 1;
                    text.target = self.word()?;
                    while self.accept(',') {
                        self.word()?;
                    }
                }
                ".visible" | ".weak" | ".extern" | ".common" => self.at += 1,
                ".entry" => {
                    let entry = self.entry()?;
                    text.entries.push(entry);
                }
                ".func" => return Err(ParseError::Function { line: self.line() }),
                // Debug information; nothing follows it.
                ".section" => break,
                ".global" | ".const" | ".shared" => {
                    let variables = self.variables()?;
                    text.variables.extend(variables);
                }
                _ => return Err(self.expected("a directive of a module")),
            }
        }
        Ok(text)
    }

    fn entry(&mut self) -> Parse<Entry> {
        self.at += 1;
        let mut entry = Entry {
            name: self.word()?,
            params: vec![],
            required_threads: None,
            max_threads: None,
            max_registers: None,
            body: vec![],
        };
        if self.accept('(') {
            while !self.accept(')') {
                entry.params.push(self.param()?);
                self.accept(',');
            }
        }
        loop {
            match self.peek_word() {
                Some(".maxntid") => entry.max_threads = Some(self.triple()?),
                Some(".reqntid") => entry.required_threads = Some(self.triple()?),
                Some(".maxnreg") => entry.max_registers = Some(self.triple()?[0]),
                Some(".minnctapersm" | ".maxnctapersm" | ".reqnctapercluster" | ".maxclusterrank") => {
                    self.triple()?;
                }
                Some(".noreturn" | ".explicitcluster" | ".blocksareclusters") => self.at += 1,
                Some(".pragma") => self.skip_past(';'),
                _ => break,
            }
        }
        self.expect('{')?;
        let mut depth = 0;
        loop {
            if self.accept('}') {
                if depth == 0 {
                    return Ok(entry);
                }
                depth -= 1;
                entry.body.push(Statement::Close);
            } else if self.accept('{') {
                depth += 1;
                entry.body.push(Statement::Open);
            } else {
                self.statement(&mut entry.body)?;
            }
        }
    }

    fn triple(&mut self) -> Parse<[u32; 3]> {
        self.at += 1;
        let mut out = [1; 3];
        for size in &mut out {
            *size = self.unsigned()? as u32;
            if !self.accept(',') {
                break;
            }
        }
        Ok(out)
    }

    fn param(&mut self) -> Parse<Param> {
        if self.word()? != ".param" {
            self.at -= 1;
            return Err(self.expected("`.param`"));
        }
        let (mut align, mut bytes, mut pointer) = (None, None, false);
        loop {
            let word = self.word()?;
            match word.as_str() {
                // What follows `.ptr` describes what the pointer points at.
                ".ptr" => pointer = true,
                ".global" | ".shared" | ".const" | ".local" => {}
                ".align" => {
                    let value = self.unsigned()?;
                    if !pointer {
                        align = Some(value);
                    }
                }
                ty if ty.starts_with('.') => {
                    bytes = Some(type_bytes(&ty[1..]).ok_or_else(|| self.expected("a type"))?);
                }
                _ => {
                    let size = bytes.ok_or_else(|| self.expected("a type before the name"))?;
                    let mut total = size;
                    if self.accept('[') {
                        total = size * self.unsigned()?;
                        self.expect(']')?;
                    }
                    return Ok(Param {
                        name: word,
                        bytes: total,
                        align: align.unwrap_or(size),
                    });
                }
            }
        }
    }

    fn variables(&mut self) -> Parse<Vec<Variable>> {
        let space = match self.word()?.as_str() {
            ".global" => Space::Global,
            ".const" => Space::Const,
            ".shared" => Space::Shared,
            ".local" => Space::Local,
            _ => Space::Param,
        };
        let (mut align, mut size) = (None, 0);
        while let Some(word) = self.peek_word().filter(|w| w.starts_with('.')).map(str::to_string) {
            self.at += 1;
            if word == ".align" {
                align = Some(self.unsigned()?);
            } else if word != ".attribute" && !word.starts_with(".v") {
                size = type_bytes(&word[1..]).ok_or_else(|| self.expected("a type"))?;
            }
        }
        let mut out = Vec::new();
        loop {
            let name = self.word()?;
            let mut bytes = Some(size);
            while self.accept('[') {
                if self.accept(']') {
                    bytes = None;
                } else {
                    let count = self.unsigned()?;
                    bytes = bytes.map(|b| b * count);
                    self.expect(']')?;
                }
            }
            let init = if self.accept('=') { self.initial(size)? } else { vec![] };
            out.push(Variable {
                name,
                space,
                align: align.unwrap_or(size),
                bytes,
                init,
            });
            if !self.accept(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok(out)
    }

    fn initial(&mut self, size: u64) -> Parse<Vec<u8>> {
        let mut out = Vec::new();
        let mut depth = 0;
        loop {
            if self.accept('{') {
                depth += 1;
            } else if self.accept('}') {
                depth -= 1;
            } else if !self.accept(',') {
                let bits = match self.operand()? {
                    Operand::Int(value) => value as u64,
                    Operand::Single(bits) => u64::from(bits),
                    Operand::Double(bits) => bits,
                    _ => return Err(self.expected("a number")),
                };
                out.extend_from_slice(&bits.to_le_bytes()[..size as usize]);
            }
            if depth == 0 {
                return Ok(out);
            }
        }
    }

    fn statement(&mut self, body: &mut Vec<Statement>) -> Parse<()> {
        match self.peek_word() {
            Some(".loc") => self.skip_line(),
            Some(".pragma") => self.skip_past(';'),
            Some(".reg") => self.registers(body)?,
            Some(".shared" | ".local" | ".param" | ".global" | ".const") => {
                body.extend(self.variables()?.into_iter().map(Statement::Variable));
            }
            Some(word) if !word.starts_with('.') && self.tokens[self.at..].get(1).is_some_and(colon) => {
                let name = self.word()?;
                self.at += 1;
                if self.peek_word() == Some(".branchtargets") {
                    self.at += 1;
                    let mut targets = vec![self.word()?];
                    while self.accept(',') {
                        targets.push(self.word()?);
                    }
                    self.expect(';')?;
                    body.push(Statement::Targets(name, targets));
                } else {
                    body.push(Statement::Label(name));
                }
            }
            _ => body.push(Statement::Instruction(self.instruction()?)),
        }
        Ok(())
    }

    fn registers(&mut self, body: &mut Vec<Statement>) -> Parse<()> {
        self.at += 1;
        let ty = self.word()?.trim_start_matches('.').to_string();
        loop {
            let name = self.word()?;
            let mut count = None;
            if self.accept('<') {
                // A file of registers has 65535 places.
                match u16::try_from(self.unsigned()?) {
                    Ok(n) => count = Some(n.into()),
                    Err(_) => return Err(self.expected("a number of registers below 65536, before this")),
                }
                self.expect('>')?;
            }
            body.push(Statement::Registers(Registers {
                ty: ty.clone(),
                name,
                count,
            }));
            if !self.accept(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn instruction(&mut self) -> Parse<Instruction> {
        let mut guard = None;
        if self.accept('@') {
            let negated = self.accept('!');
            guard = Some((self.word()?, negated));
        }
        let line = self.line();
        let opcode = self.word()?;
        if opcode == "call" || opcode.starts_with("call.") {
            return Err(ParseError::Function { line });
        }
        let mut operands = Vec::new();
        if !self.accept(';') {
            loop {
                operands.push(self.operand()?);
                if self.accept(';') {
                    break;
                }
                self.expect(',')?;
            }
        }
        Ok(Instruction {
            line,
            guard,
            opcode,
            operands,
        })
    }

    fn operand(&mut self) -> Parse<Operand> {
        self.nested(0)
    }

    /// An operand within so many others.
    fn nested(&mut self, depth: u32) -> Parse<Operand> {
        if depth > MOST_NESTED {
            return Err(self.expected("operands nested less deeply"));
        }
        if self.accept('{') {
            let mut parts = Vec::new();
            while !self.accept('}') {
                parts.push(self.nested(depth + 1)?);
                self.accept(',');
            }
            return Ok(Operand::Vector(parts));
        }
        if self.accept('[') {
            return self.address();
        }
        if self.accept('!') {
            return Ok(Operand::Not(self.word()?));
        }
        let negative = self.accept('-');
        let word = self.word()?;
        let simple = match number(&word) {
            Some(Operand::Int(value)) if negative => Operand::Int(-value),
            Some(value) => value,
            None => Operand::Name(word),
        };
        if self.accept('|') {
            return Ok(Operand::Pair(Box::new(simple), Box::new(self.nested(depth + 1)?)));
        }
        if let Operand::Name(name) = &simple
            && self.accept('+')
        {
            return Ok(Operand::Offset(name.clone(), self.unsigned()? as i64));
        }
        Ok(simple)
    }

    fn address(&mut self) -> Parse<Operand> {
        let (mut base, mut offset) = (None, 0);
        loop {
            let negative = self.accept('-');
            let word = self.word()?;
            match number(&word) {
                Some(Operand::Int(value)) => offset += if negative { -value } else { value } as i64,
                _ if base.is_none() => base = Some(word),
                _ => return Err(self.expected("an offset")),
            }
            if self.accept(']') {
                return Ok(Operand::Address { base, offset });
            }
            if self.accept(',') {
                let Operand::Vector(coordinates) = self.operand()? else {
                    return Err(self.expected("coordinates"));
                };
                self.expect(']')?;
                let map = Box::new(Operand::Address { base, offset });
                return Ok(Operand::Tensor { map, coordinates });
            }
            if !self.accept('+') && !self.is('-') {
                return Err(self.expected("`]`"));
            }
        }
    }

    fn unsigned(&mut self) -> Parse<u64> {
        let negative = self.accept('-');
        let word = self.word()?;
        match number(&word) {
            Some(Operand::Int(value)) => Ok(if negative { -value } else { value } as u64),
            _ => {
                self.at -= 1;
                Err(self.expected("an integer"))
            }
        }
    }
}

fn colon(next: &Located) -> bool {
    next.token == Token::Sign(':')
}

fn number(word: &str) -> Option<Operand> {
    let lower = word.to_ascii_lowercase();
    if let Some(bits) = lower.strip_prefix("0f") {
        return u32::from_str_radix(bits, 16).ok().map(Operand::Single);
    }
    if let Some(bits) = lower.strip_prefix("0d") {
        return u64::from_str_radix(bits, 16).ok().map(Operand::Double);
    }
    let digits = lower.trim_end_matches('u');
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16)
    } else if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2)
    } else {
        digits.parse()
    };
    value.ok().map(Operand::Int)
}
