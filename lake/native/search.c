/* Words in a text, found by hopping between the occurrences of a letter of theirs that is rare in tables of numbers. */

static inline const byte *seek(const byte *p, const byte *end, const char *word, long length, long rare)
{
    while (end - p >= length) {
        const byte *found = memchr(p + rare, word[rare], end - p - length + 1);
        if (!found)
            return 0;
        if (!memcmp(found - rare, word, length))
            return found - rare;
        p = found - rare + 1;
    }
    return 0;
}

static inline const byte *seek_back(const byte *p, const byte *end, const char *word, long length, long rare)
{
    while (end - p >= length) {
        const byte *found = end - length + rare;
#if defined(__GLIBC__)
        found = memrchr(p + rare, word[rare], end - p - length + 1);
        if (!found)
            return 0;
#else
        while (found >= p + rare && *found != (byte)word[rare])
            found--;
        if (found < p + rare)
            return 0;
#endif
        if (!memcmp(found - rare, word, length))
            return found - rare;
        end = found - rare + length - 1;
    }
    return 0;
}

#define SEEK(p, end, word, rare) seek(p, end, word, sizeof(word) - 1, rare)
#define SEEK_BACK(p, end, word, rare) seek_back(p, end, word, sizeof(word) - 1, rare)
#define STARTS(p, end, word) ((end) - (p) >= (long)sizeof(word) - 1 && !memcmp(p, word, sizeof(word) - 1))

static inline const byte *line_end(const byte *p, const byte *end)
{
    return p < end ? memchr(p, '\n', end - p) : 0;
}

/* The number that stands next, behind blanks, at most up to end; return what follows it, 0 where it is none or written unusually. */
static inline const byte *next_number(const byte *p, const byte *end, double *out)
{
    while (p < end && *p == ' ')
        p++;
    const byte *first = p;
    while (p < end && (is_digit(*p) || *p == '-' || *p == '+' || *p == '.' || *p == 'e' || *p == 'E'))
        p++;
    return decimal(first, p, out) ? p : 0;
}

/* Where the words first stand between two places of a text, -1 for nowhere; rare is the place in them of a letter that is rare. */
long find_words(const byte *text, long start, long end, const char *words, long length, long rare)
{
    const byte *found = seek(text + start, text + end, words, length, rare);
    return found ? found - text : -1;
}
