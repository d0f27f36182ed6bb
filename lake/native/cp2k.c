/* Rows of the tables of coordinates and of forces in a log of CP2K. */

#define CP2K_WORDS 9

/* The words of a line, up to CP2K_WORDS + 1 of them; -1 where it has blanks of an unusual kind. */
static long cp2k_words(const byte *p, const byte *end, const byte *words[][2])
{
    long n = 0;
    for (; p < end; n++) {
        while (p < end && *p == ' ')
            p++;
        if (p == end)
            break;
        const byte *first = p;
        while (p < end && *p != ' ') {
            if (is_blank(*p))
                return -1;
            p++;
        }
        if (n <= CP2K_WORDS) {
            words[n < CP2K_WORDS ? n : CP2K_WORDS][0] = first;
            words[n < CP2K_WORDS ? n : CP2K_WORDS][1] = p;
        }
    }
    return n;
}

/* A whole number of at most 9 digits; -1 for any other word, -2 for a longer one. */
static long cp2k_whole(const byte *p, const byte *end)
{
    long value = 0, length = end - p;
    for (; p < end; p++) {
        if (!is_digit(*p))
            return -1;
        value = length > 9 ? 0 : value * 10 + (*p - '0');
    }
    return length > 9 ? -2 : value;
}

/* `number kind symbol Z x y z Z(eff) mass`, as many lines of it as follow each other from the first one at start or behind it on, numbered
   from 1, and a blank line behind them. whole[most][2] gets kind and Z, positions[most][3] the rest. Return how many; 0 where there is no
   such table, -1 where that is left to another way. */
long cp2k_atoms(const byte *text, long start, long end, long most, long *whole, double *positions)
{
    const byte *p = text + start, *stop = text + end, *words[CP2K_WORDS + 1][2];
    for (long rows = 0;;) {
        const byte *newline = line_end(p, stop);
        if (!newline)
            return 0;
        long n = cp2k_words(p, newline, words), count = -1, kind = -1, z = -1;
        if (n < 0)
            return -1;
        if (n == CP2K_WORDS && *p == ' ') {
            count = cp2k_whole(words[0][0], words[0][1]);
            kind = cp2k_whole(words[1][0], words[1][1]);
            z = cp2k_whole(words[3][0], words[3][1]);
            byte letter = *words[2][0] | 32;
            if (letter < 'a' || letter > 'z')
                count = -1;
        }
        if (count == -2 || kind == -2 || z == -2)
            return -1;
        p = newline + 1;
        if (count < 0 || kind < 0 || z < 0) {
            if (rows)
                return n == 0 ? rows : 0;
            continue;
        }
        if (count != rows + 1)
            return 0;
        if (rows == most)
            return -1;
        whole[2 * rows] = kind;
        whole[2 * rows + 1] = z;
        for (long k = 0; k < 3; k++) {
            double value;
            if (!decimal(words[4 + k][0], words[4 + k][1], &value) || !(fabs(value) < 1e100))
                return -1;
            positions[3 * rows + k] = value;
        }
        rows++;
    }
}

/* `number kind symbol x y z`, rows lines of one length from start on, their decimal points below each other and equally far apart, numbered
   from 1, and ` SUM OF ATOMIC FORCES` behind them. forces[rows][3] gets the numbers. Return where the table ends; -1 where that is left to
   another way. */
long cp2k_forces(const byte *text, long start, long end, long rows, double *forces)
{
    static const char sum[] = " SUM OF ATOMIC FORCES";
    const byte *p = text + start, *stop = text + end, *words[CP2K_WORDS + 1][2], *newline = line_end(p, stop);
    long length = newline ? newline + 1 - p : 0, points[3] = {0, 0, 0}, decimals = 0;
    if (length < 7 || rows < 1 || rows > (end - start) / length)
        return -1;
    for (long k = 0; k < rows; k++, p += length) {
        if (line_end(p, stop) != p + length - 1 || cp2k_words(p, p + length - 1, words) != 6 || cp2k_whole(words[0][0], words[0][1]) != k + 1)
            return -1;
        for (long c = 0; c < 3; c++) {
            const byte *dot = words[3 + c][0];
            while (dot < words[3 + c][1] && *dot != '.')
                dot++;
            long digits = words[3 + c][1] - dot;
            for (const byte *q = dot + 1; q < words[3 + c][1]; q++)
                if (!is_digit(*q))
                    return -1;
            if (k == 0) {
                decimals = c ? decimals : digits;
                points[c] = dot - p;
            }
            double value;
            if (digits < 2 || digits != decimals || dot - p != points[c] || !decimal(words[3 + c][0], words[3 + c][1], &value) || !(fabs(value) < 1e100))
                return -1;
            forces[3 * k + c] = value;
        }
        long width = points[1] - points[0];
        if (points[2] - points[1] != width || words[2][1] > words[3][1] - width || words[3][1] - words[3][0] > width)
            return -1;
    }
    long behind = (long)sizeof sum - 1;
    return stop - p >= behind && !memcmp(p, sum, behind) ? p - text : -1;
}
