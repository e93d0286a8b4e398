# Word and letter error rates of transcripts, with reference and hypothesis side by side.
#
#   awk -f scripts/score.awk REFERENCE.tsv HYPOTHESIS.tsv
#
# Both are lines of path TAB text. Paths are matched by their last two parts (test/0001.wav), so that one may be relative
# to another folder. A clip with no hypothesis counts as all wrong. Any POSIX awk.

BEGIN { FS = "\t" }

function key(path,    parts, n) {
    n = split(path, parts, "/")
    return n > 1 ? parts[n - 1] "/" parts[n] : path
}

# Levenshtein distance between the first n of a and the first m of b.
function distance(a, n, b, m,    i, j, above, corner, best) {
    for (j = 0; j <= m; j++) row[j] = j
    for (i = 1; i <= n; i++) {
        corner = row[0]
        row[0] = i
        for (j = 1; j <= m; j++) {
            above = row[j]
            best = corner + (a[i] != b[j])
            if (above + 1 < best) best = above + 1
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1
            corner = above
            row[j] = best
        }
    }
    return row[m]
}

# The letters of a text into `out`; not split(text, out, ""), which POSIX leaves open.
function letters(text, out,    i) {
    for (i = 1; i <= length(text); i++) out[i] = substr(text, i, 1)
    return length(text)
}

FNR == NR {
    order[++clips] = key($1)
    reference[key($1)] = $2
    if (length($2) > width) width = length($2)
    next
}
{
    gsub(/^ +| +$/, "", $2)
    hypothesis[key($1)] = $2
}

END {
    if (!clips) {
        print "score: no references" > "/dev/stderr"
        exit 1
    }
    printf "%-" width "s   %s\n", "said", "heard"
    for (c = 1; c <= clips; c++) {
        said = reference[order[c]]
        heard = hypothesis[order[c]]
        printf "%-" width "s | %s\n", said, heard
        n = split(said, a, / +/)
        m = split(heard, b, / +/)
        words += n
        word_errors += distance(a, n, b, m)
        n = letters(said, a)
        m = letters(heard, b)
        all_letters += n
        letter_errors += distance(a, n, b, m)
    }
    printf "\nword error rate   %5.1f %%  (%d of %d words)\n", 100 * word_errors / words, word_errors, words
    printf "letter error rate %5.1f %%  (%d of %d letters)\n", 100 * letter_errors / all_letters, letter_errors, all_letters
}
