/* Steps of a vasprun.xml that are written in the usual way, one after another; what is not is left to the reader in Python. */

#define XML_PLACES 3
#define XML_NUMBERS 6
#define LONG (4L << 20)
#define NUMBER_IN_TAG(p, end, out, tag) ((p) = number_in_tag(p, end, out, tag, sizeof(tag) - 1))

/* A number, blanks, and a tag with any white space in it where the tag has a blank; return what follows. */
static const byte *number_in_tag(const byte *p, const byte *end, double *out, const char *tag, long length)
{
    if (!p || !(p = next_number(p, end, out)))
        return 0;
    while (p < end && *p == ' ')
        p++;
    if (end - p < length || memcmp(p, tag, length))
        return 0;
    return p + length;
}

/* The last energies between two places: e_fr_energy, e_wo_entrp, e_0_energy. */
static int xml_energies(const byte *p, const byte *end, double *out)
{
    p = SEEK_BACK(p, end, "e_fr_energy", 1);
    if (!p || !STARTS(p, end, "e_fr_energy\">"))
        return 0;
    p += 13;
    if (!NUMBER_IN_TAG(p, end, out, "</i>"))
        return 0;
    while (p < end && is_blank(*p))
        p++;
    if (!STARTS(p, end, "<i name=\"e_wo_entrp\">"))
        return 0;
    p += 21;
    if (!NUMBER_IN_TAG(p, end, out + 1, "</i>"))
        return 0;
    while (p < end && is_blank(*p))
        p++;
    if (!STARTS(p, end, "<i name=\"e_0_energy\">"))
        return 0;
    p += 21;
    return NUMBER_IN_TAG(p, end, out + 2, "<") != 0;
}

typedef byte lanes __attribute__((vector_size(32)));

#define LANES(p) ({ lanes l; memcpy(&l, p, sizeof l); (lanes)((l == a) | (l == b) | (l == c)); })

static inline int any(lanes hit)
{
    uint64_t found[sizeof hit / 8], all = 0;
    memcpy(found, &hit, sizeof hit);
    for (unsigned i = 0; i < sizeof hit / 8; i++)
        all |= found[i];
    return all != 0;
}

/* The next of three letters that are rare: many bytes are looked at together. */
static inline const byte *any_of(const byte *p, const byte *end, const char *letters)
{
    lanes a, b, c;
    memset(&a, letters[0], sizeof a);
    memset(&b, letters[1], sizeof b);
    memset(&c, letters[2], sizeof c);
    const long some = sizeof a;
    for (; end - p >= 8 * some; p += 8 * some)
        if (any(LANES(p) | LANES(p + some) | LANES(p + 2 * some) | LANES(p + 3 * some) | LANES(p + 4 * some) | LANES(p + 5 * some)
                | LANES(p + 6 * some) | LANES(p + 7 * some)))
            break;
    while (end - p >= some && !any(LANES(p)))
        p += some;
    for (; p < end; p++)
        if (*p == (byte)letters[0] || *p == (byte)letters[1] || *p == (byte)letters[2])
            return p;
    return 0;
}

/* The first of the tags that tell what follows a step: `calculation>`, `modeling>`, `<structure>`, `<scstep>`. */
static const byte *tag_behind(const byte *start, const byte *end)
{
    for (const byte *p = start; (p = any_of(p, end, "ugp")); p++) {
        long before = p - start;
        if (*p == 'u' && before >= 4 && (STARTS(p - 4, end, "calculation>") || STARTS(p - 4, end, "<structure>")))
            return p - 4;
        if (*p == 'g' && before >= 7 && STARTS(p - 7, end, "modeling>"))
            return p - 7;
        if (*p == 'p' && before >= 6 && STARTS(p - 6, end, "<scstep>"))
            return p - 6;
    }
    return 0;
}

static const char *const MARKS[] = {"<structure>", "</structure>", "<energy>", "</energy>", "\"basis\"",
                                    "\"positions\"", "\"forces\"", "\"stress\"", "<v>", "</v>"};

/* Up to most calculations of a vasprun.xml from at (outside of one) on, each with its tags where the step before has them: marks[m][2],
   place behind `<structure>` and number of MARKS; bounds: of `</structure>`, `<energy>` and `</energy>`. places: where the calculation and
   its structure begin, and the steps of its cycle; numbers: last energies, and those of the cycle. at[0] becomes where to go on, inside what
   follows a step where at[1] is 1. Return how many steps there are. */
long xml_steps(const byte *buffer, long *at, long length, long most, long m, const long *marks, const long *bounds, long *places,
               double *numbers)
{
    const byte *p = buffer + *at, *stop = buffer + length;
    long n = 0;
    at[1] = 0;
    while (n < most) {
        const byte *structure = SEEK(p, stop, "<structure>", 4);
        const byte *begins = structure ? SEEK(p, structure, "<calculation>", 5) : 0;
        if (!begins || SEEK(p, begins, "modeling>", 6) || SEEK(begins + 13, structure, "calculation>", 4)
            || stop - structure < bounds[2] + 9)
            return n;
        for (long i = 0; i < m; i++)
            if (strncmp((const char *)structure + marks[2 * i], MARKS[marks[2 * i + 1]], strlen(MARKS[marks[2 * i + 1]])))
                return n;
        const byte *energy = structure + bounds[1], *end = structure + bounds[2];
        if (SEEK(structure + bounds[0], energy, "<scstep>", 6) || !xml_energies(energy, end, numbers))
            return n;
        long cycle = 0;
        for (const byte *step = begins; (step = SEEK(step, structure, "<scstep>", 6)); step += 8)
            cycle++;
        if (cycle && !xml_energies(begins, structure, numbers + 3))
            return n;
        places[0] = begins - buffer;
        places[1] = structure - buffer;
        places[2] = cycle;
        n++;
        places += XML_PLACES;
        numbers += XML_NUMBERS;
        p = end + 9;
        *at = p - buffer;
        at[1] = 1;
        const byte *shut = tag_behind(p, stop);
        if (!shut || shut - p > LONG || !STARTS(shut, stop, "calculation>"))
            return n;
        p = shut[-1] == '/' ? shut + 12 : shut - 1;
        *at = p - buffer;
        at[1] = 0;
    }
    return n;
}

#define MARKS_OF_A_STEP 16

/* What a head says, in one pass over its tags: the version, the sections, each from its tag up to its end (equal places for none), and the
   last table of selective dynamics, from and to. */
static void xml_head(const byte *buffer, const byte *at, const byte *end, long *places)
{
    static const char *const SECTIONS[] = {"incar>", "parameters>", "kpoints>", "atominfo>"};
    const byte *limit = end - at > 4096 ? at + 4096 : end, *selective = 0;
    long from[4] = {-1, -1, -1, -1}, to[4] = {-1, -1, -1, -1};
    places[0] = places[1] = places[10] = places[11] = at - buffer;
    for (const byte *p = at; (p = SEEK(p, limit, "name=\"version\"", 6)); p++) {
        const byte *open = p + 14, *shut;
        while (open < limit && *open != '<' && *open != '>')
            open++;
        if (open < limit && *open == '>' && (shut = memchr(open + 1, '<', limit - open - 1))) {
            places[0] = open + 1 - buffer;
            places[1] = shut - buffer;
            break;
        }
    }
    for (const byte *p = at; p < end && (p = memchr(p, '<', end - p)); p++) {
        const byte *name = p + 1 + (end - p > 1 && p[1] == '/');
        long section = name >= end ? -1 : *name == 'i' ? 0 : *name == 'p' ? 1 : *name == 'k' ? 2 : *name == 'a' ? 3 : -1;
        if (section >= 0) {
            long length = strlen(SECTIONS[section]);
            if (end - name < length || memcmp(name, SECTIONS[section], length))
                continue;
            if (name == p + 1 && from[section] < 0)
                from[section] = p - buffer;
            else if (name == p + 2 && from[section] >= 0 && to[section] < 0)
                to[section] = p - buffer;
        } else if (STARTS(p, end, "<varray name=\"selective\""))
            selective = p;
    }
    for (long k = 0; k < 4; k++) {
        places[2 + 2 * k] = from[k] < 0 ? at - buffer : from[k];
        places[3 + 2 * k] = from[k] < 0 ? at - buffer : to[k] < 0 ? end - buffer : to[k];
    }
    const byte *shut = selective ? SEEK(selective, end, "</varray>", 2) : 0;
    if (shut) {
        places[10] = selective - buffer;
        places[11] = shut - buffer;
    }
}

/* Where the tags of a table stand in a step, counted from structure: its name, its first `<v>`, and behind its last `</v>`. */
static int xml_table(const byte *structure, const byte *start, const byte *end, const char *name, long *places)
{
    const byte *place = seek(start, end, name, strlen(name), 0), *first = place ? SEEK(place, end, "<v>", 1) : 0;
    const byte *shut = first ? SEEK(place, end, "</varray>", 2) : 0;
    if (!shut || shut < first)
        return 0;
    while (shut > first && shut[-1] != '>')
        shut--;
    places[0] = place - structure;
    places[1] = first - structure;
    places[2] = shut - structure;
    return 1;
}

/* Places in a step found by its tags, as bounds[3] (of `</structure>`, `<energy>` and `</energy>`), tables[4][3] and sorted marks; 0 where
   it is torn, lacks a table, has not come in whole, or has another cycle behind its structure. */
static int xml_places(const byte *structure, const byte *stop, long *bounds, long *tables, long *marks)
{
    const byte *shut = SEEK(structure, stop, "</structure>", 5), *energy = shut ? SEEK(shut, stop, "<energy>", 5) : 0;
    const byte *end = energy ? SEEK(energy, stop, "</energy>", 6) : 0;
    if (!end || SEEK(shut, energy, "<scstep>", 6) || SEEK(structure + 11, end, "<structure>", 4)
        || SEEK(structure + 11, end, "calculation>", 4) || SEEK(energy + 8, end, "<energy>", 5))
        return 0;
    const byte *outer[] = {structure, shut, energy, end};
    for (long k = 0; k < 4; k++) {
        const byte *from = k < 2 ? structure : shut, *to = k < 2 ? shut : energy;
        if (!xml_table(structure, from, to, MARKS[4 + k], tables + 3 * k))
            return 0;
        long four[] = {outer[k] - structure, k, tables[3 * k], 4 + k, tables[3 * k + 1], 8, tables[3 * k + 2] - 4, 9};
        memcpy(marks + 8 * k, four, sizeof four);
    }
    for (long i = 1; i < MARKS_OF_A_STEP; i++)
        for (long j = i; j > 0 && marks[2 * j] < marks[2 * j - 2]; j--)
            for (long k = 0; k < 2; k++) {
                long other = marks[2 * j + k];
                marks[2 * j + k] = marks[2 * j - 2 + k];
                marks[2 * j - 2 + k] = other;
            }
    for (long i = 1; i < MARKS_OF_A_STEP; i++)
        if (marks[2 * i - 2] + (long)strlen(MARKS[marks[2 * i - 1]]) > marks[2 * i])
            return 0;
    for (long k = 1; k < 4; k++)
        bounds[k - 1] = outer[k] - structure;
    return 1;
}

/* The head of a run from its `<modeling>` at on, and its first calculations as xml_steps has them. outline: where the head ends, xml_head's
   12 places, bounds[3] and tables[4][3]. Return how many steps there are; 0 leaves all to the reader in Python. */
long xml_begin(const byte *buffer, long *at, long length, long most, long *outline, long *places, double *numbers)
{
    const byte *begins = buffer + *at, *stop = buffer + length;
    long marks[2 * MARKS_OF_A_STEP], on[2];
    const byte *first = SEEK(begins, stop, "<calculation>", 5), *structure = first ? SEEK(first, stop, "<structure>", 4) : 0;
    if (!structure || SEEK(begins + 10, first, "<modeling>", 8) || SEEK(begins, first, "<structure>", 4)
        || !xml_places(structure, stop, outline + 13, outline + 16, marks))
        return 0;
    on[0] = *outline = first - buffer;
    long n = xml_steps(buffer, on, length, most, MARKS_OF_A_STEP, marks, outline + 13, places, numbers);
    xml_head(buffer, begins, first, outline + 1);
    memcpy(at, on, sizeof on);
    return n;
}

/* The numbers of the tables of n steps, found by xml_steps, into one array for each: tables[4][3] as xml_begin has them, of 3, natoms,
   natoms and 3 rows. Return 1 where all are as Fortran writes them; else they are left to the reader in Python. */
long xml_tables(const byte *buffer, const long *places, long n, const long *tables, long natoms, double *cells, double *positions,
                double *forces, double *stress)
{
    double *out[] = {cells, positions, forces, stress};
    long *starts = malloc(2 * n * sizeof *starts), *ends = starts + n, usual = starts != 0;
    for (long k = 0; usual && k < 4; k++) {
        long group[5], length = tables[3 * k + 2] - tables[3 * k + 1];
        for (long i = 0; i < n; i++) {
            starts[i] = places[XML_PLACES * i + 1] + tables[3 * k + 1];
            ends[i] = starts[i] + length;
        }
        const byte *row = buffer + starts[0], *next = SEEK(row + 1, row + length, "<v>", 1);
        long stride = next ? next - row : length;
        usual = stride <= 1024 && columns_of(row, 3, stride, 3, group)
                && block_rows(buffer, starts, ends, n, k % 3 ? natoms : 3, stride, 1, 1, group, out[k]);
    }
    free(starts);
    return usual;
}
