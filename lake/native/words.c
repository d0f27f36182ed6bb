/* All places of many words in a text in one pass (Wu and Manber 1994).

   A window of `window` letters is chosen in each word. less[] says by the pair of letters (first + 256 second) that ends a window how much
   nearer than window - 1 letters ahead the next window of theirs may end; where that leaves none, heads[] has the first word whose window
   ends so (from 0, -1 for none). words[][4] have of each word the next one of the same pair (-1 for none), its length, where in it its
   window ends, and its place in letters. Return how many (word, place) are in out[most][2], those of one word in order; -1 where there are
   more than most. */
long word_places(const byte *text, long start, long end, long window, const byte *less, const int *heads, const long *words,
                 const byte *letters, long most, long *out)
{
    long found = 0, step = window - 1;
#define PAIR(p) (text[(p) - 2] | text[(p) - 1] << 8)
    for (long p = start + window; p <= end;) {
        while (p + 3 * step <= end && !(less[PAIR(p)] | less[PAIR(p + step)] | less[PAIR(p + 2 * step)] | less[PAIR(p + 3 * step)]))
            p += 4 * step;
        if (p > end)
            break;
        long pair = PAIR(p), shift = step - less[pair];
        if (shift) {
            p += shift;
            continue;
        }
        for (long w = heads[pair]; w >= 0; w = words[4 * w]) {
            const long *word = words + 4 * w;
            long place = p - word[2];
            if (place < start || place + word[1] > end || memcmp(text + place, letters + word[3], word[1]))
                continue;
            if (found == most)
                return -1;
            out[2 * found] = w;
            out[2 * found++ + 1] = place;
        }
        p++;
    }
#undef PAIR
    return found;
}

/* Where the last of the lines from p on ends that begin with a digit behind blanks, or hold blanks alone; p - 1 for none. */
static const byte *digits_end(const byte *p, const byte *end)
{
    const byte *last = p - 1;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
            p++;
        if (p < end && *p != '\n' && !is_digit(*p))
            break;
        last = line_end(p, end);
        last = last ? last : end;
        p = last + 1;
    }
    return last;
}

/* The lines of a text that hold one of n places, which are in order, or a '=' between one of two pairs of places, and with the line of a
   place those behind it that hold blanks alone or begin with a digit. A line '-' stands for what is left out between two of them; each
   ends as it does in the text. Return how many bytes are in out, which has room for twice the text and two more. */
long telling_lines(const byte *text, long size, const long *places, long n, const long *ranges, byte *out)
{
    long written = 0;
    for (long at = 0, k = 0; at < size;) {
        while (k < n && places[k] < at)
            k++;
        long next = k < n ? places[k] : size, told = next;
        for (int r = 0; r < 2; r++) {
            long from = ranges[2 * r] > at ? ranges[2 * r] : at, to = ranges[2 * r + 1] < next ? ranges[2 * r + 1] : next;
            const byte *equals = from < to ? memchr(text + from, '=', to - from) : 0;
            next = equals ? equals - text : next;
        }
        if (next >= size)
            break;
        const byte *before = memrchr(text + at, '\n', next - at), *last = line_end(text + next, text + size);
        long from = before ? before + 1 - text : at, end = last ? last - text : size;
        if (told <= end)
            end = digits_end(text + end + 1, text + size) - text;
        if (from > at) {
            out[written++] = '-';
            out[written++] = '\n';
        }
        end = end < size ? end : size;
        memcpy(out + written, text + from, end - from);
        written += end - from;
        if (end < size)
            out[written++] = '\n';
        at = end + 1;
    }
    return written;
}
