/* What pw.x printed for one configuration, where it is written in the usual way; anything else is left to the reader in Python. */

#define PW_NUMBERS 5
#define PW_PLACES 8

enum { PW_ENERGY, PW_SMEARING, PW_ACCURACY, PW_PRESSURE, PW_TOTAL_FORCE };
enum { PW_LINE, PW_FORCES, PW_FORCES_END, PW_STRESS, PW_STRESS_END, PW_KBAR, PW_ITERATIONS, PW_DECIMALS };

static inline const byte *skip_blanks(const byte *p, const byte *end)
{
    while (p < end && *p == ' ')
        p++;
    return p;
}

/* `  number  Ry` and blanks to the end of the line, behind p. */
static int pw_rydbergs(const byte *p, const byte *end, double *out)
{
    if (!(p = next_number(p, end, out)) || !(fabs(*out) < 1e100))
        return 0;
    p = skip_blanks(p, end);
    if (!STARTS(p, end, "Ry"))
        return 0;
    p = skip_blanks(p + 2, end);
    return p < end && *p == '\n';
}

/* The number in the next word, which ends less than 24 bytes behind p. */
static int pw_word(const byte *p, const byte *end, double *out)
{
    const byte *stop = end - p > 24 ? p + 24 : end;
    p = next_number(p, stop, out);
    return p && p < stop && is_blank(*p) && fabs(*out) < 1e100;
}

/* The line of the final energy: 1 for one, 2 for none, 0 where that is left to Python. */
static long pw_energy(const byte *text, const byte *end, long *place, double *out)
{
    long lines = 0;
    for (const byte *p = text; (p = memchr(p, '!', end - p)); p++) {
        if (p == text || p[-1] != '\n')
            continue;
        const byte *q = skip_blanks(p + 1, end);
        if (q < end && *q == '!')
            return 0;
        if (q == p + 1 || !STARTS(q, end, "total energy "))
            continue;
        q = skip_blanks(q + 12, end);
        if (q == end || *q != '=')
            continue;
        if (lines++ || !pw_rydbergs(q + 1, end, out))
            return 0;
        *place = p - 1 - text;
    }
    return lines ? 1 : 2;
}

/* The rows of the table of total forces behind p: 0 where it is not there as usual. */
static int pw_forces(const byte *text, const byte *p, const byte *end, long natoms, long *start, long *stop)
{
    *start = *stop = -1;
    const byte *title = SEEK(p, end, "\n     Forces acting on atoms", 6);
    if (!title)
        return 1;
    const byte *row = SEEK(title, end, "force =", 6), *newline;
    if (!row || !(newline = line_end(row, end)))
        return 0;
    while (row > text && row[-1] != '\n')
        row--;
    long length = newline + 1 - row;
    if ((end - row) / length < natoms)
        return 0;
    *start = row - text;
    for (long k = 0; k < natoms; k++, row += length) {
        const byte *last = row + length - 1, *word;
        if (line_end(row, last + 1) != last || !(word = SEEK(row, last, "force =", 6)) || SEEK(word + 1, last, "force =", 6))
            return 0;
    }
    *stop = row - text;
    long number = 0;
    for (row = skip_blanks(row - length, end); *row > ' '; row++)
        ;
    const byte *digits = row = skip_blanks(row, end);
    for (; is_digit(*row) && row - digits < 9; row++)
        number = number * 10 + (*row - '0');
    return number == natoms && *digits != '0' && (*row == ' ' || *row == '\n');
}

/* The three rows of the stress behind its title. */
static int pw_stress(const byte *text, const byte *title, const byte *end, long *places)
{
    const byte *p = line_end(title, end), *newline;
    if (!p)
        return 0;
    places[PW_KBAR] = SEEK(title, p + 1, "(kbar)", 1) != 0;
    places[PW_STRESS] = ++p - text;
    long width = 0;
    for (int k = 0; k < 3; k++, p = newline + 1) {
        if (!(newline = line_end(p, end)))
            return 0;
        const byte *last = newline;
        while (last > p && is_blank(last[-1]))
            last--;
        if (last == p || (k && last - p != width))
            return 0;
        width = last - p;
    }
    places[PW_STRESS_END] = p - text;
    return 1;
}

/* The accuracy of the last iteration, with its decimals: -1 where there is none, -2 where it has an exponent. */
static int pw_accuracy(const byte *line, const byte *end, double *out, long *decimals)
{
    *decimals = -1;
    const byte *p = SEEK(line, end - line > 1200 ? line + 1200 : end, "estimated scf accuracy", 17);
    if (!p)
        return 1;
    const byte *q = skip_blanks(p + 22, end);
    if (q == p + 22 || q == end || *q != '<' || !pw_rydbergs(q + 1, end, out))
        return 0;
    q = skip_blanks(q + 1, end);
    while (is_digit(*q) || *q == '-' || *q == '+')
        q++;
    if (*q++ != '.')
        return 0;
    for (p = q; is_digit(*q);)
        q++;
    *decimals = *q == 'e' || *q == 'E' ? -2 : q - p;
    return 1;
}

/* The iterations of the last cycle; -1 where they are not printed. */
static int pw_iterations(const byte *text, const byte *end, long *out)
{
    *out = -1;
    const byte *p = SEEK_BACK(text, end, "convergence has been achieved in", 3);
    if (!p)
        return 1;
    const byte *digits = skip_blanks(p + 32, end), *q = digits;
    for (*out = 0; q < end && is_digit(*q) && q - digits < 7; q++)
        *out = *out * 10 + (*q - '0');
    return digits > p + 32 && q > digits && q - digits < 7 && STARTS(q, end, " iterations");
}

/* Labels of the configuration that a text follows, with no other threshold, no exact exchange and no failure in it: numbers in Ry, Ry/bohr
   and kbar (NaN where they are not printed), places from the start of the text (-1 for none). Return 1; 2 where there is no final energy,
   0 where that is left to Python. */
long pw_labels(const byte *text, long length, long natoms, long *places, double *numbers)
{
    const byte *end = text + length;
    for (int k = 0; k < PW_NUMBERS; k++)
        numbers[k] = NAN;
    for (int k = 0; k < PW_PLACES; k++)
        places[k] = -1;
    long found = pw_energy(text, end, places + PW_LINE, numbers + PW_ENERGY);
    if (found != 1)
        return found;
    const byte *line = text + places[PW_LINE];
    const byte *stress = SEEK(line, end, " total   stress ", 1), *cycle = SEEK(line, end, "convergence has been", 3);
    const byte *stop = cycle ? cycle : end - line > 2500 ? line + 2500 : end, *p;
    if (!pw_forces(text, line, end, natoms, places + PW_FORCES, places + PW_FORCES_END) || (stress && !pw_stress(text, stress, end, places)))
        return 0;
    if ((p = SEEK(line, stop, "smearing contrib. (-TS)", 18))) {
        const byte *equals = skip_blanks(p + 23, end);
        if (equals == p + 23 || equals == end || *equals != '=' || !pw_rydbergs(equals + 1, end, numbers + PW_SMEARING))
            return 0;
    }
    if (!pw_accuracy(line, end, numbers + PW_ACCURACY, places + PW_DECIMALS) || !pw_iterations(text, end, places + PW_ITERATIONS))
        return 0;
    if (stress && (p = SEEK(stress, end - stress > 120 ? stress + 120 : end, "P=", 0)) && !pw_word(p + 2, end, numbers + PW_PRESSURE))
        return 0;
    if (places[PW_FORCES] >= 0 && (p = SEEK(line, end, "Total force =", 0)) && !pw_word(p + 13, end, numbers + PW_TOTAL_FORCE))
        return 0;
    return 1;
}
