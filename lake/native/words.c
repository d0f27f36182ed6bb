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
