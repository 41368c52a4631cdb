/* host/prompt.c - the Lua module `lunarch.prompt`: a line that is typed at a terminal while other things go on, by GNU
 * readline's callback interface. A module of its own, so that only the console loads readline, and a build without
 * readline lacks this file alone: the console then reads plain lines.
 *
 *     closed --open--> hidden --show--> shown --read: a line--> hidden
 *                        ^                |
 *                        +------hide------+      what was typed so far is kept, and shown again
 *
 * readline writes to a FILE of the host's that never waits for the terminal (streams.h). One prompt per process; all
 * functions are for the Lua thread, and none waits, except for the rest of a key sequence or of a paste.
 *
 * A change of size. Some terminals wrap what is on them anew, others cut it: how far above the cursor the line begins
 * then cannot be known. The terminal is asked where its cursor is (ESC [ 6 n), and the column tells which kind it is;
 * what is typed meanwhile is kept. One that does not answer in time is taken for one that cuts. */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include <lauxlib.h>
#include <lua.h>

#include <readline/history.h>
#include <readline/readline.h>

#define HISTORY_LINES 2000

enum state { CLOSED, HIDDEN, SHOWN };

static struct {
    enum state state;
    bool is_installed; /* readline has a line in hand, shown or not */
    bool is_prepared;  /* the terminal gives single keys */
    bool has_ended;    /* a line was entered, or the end of input */
    char *entered;     /* malloc'd; NULL: end of input */
    char *text;        /* the prompt */
    lua_State *L;      /* while one of our functions runs */
    int complete_ref;
} prompt = {.complete_ref = LUA_NOREF};

/* ---- the terminal ------------------------------------------------------------------------------------ */

/* readline prepares the terminal for each line and restores it after; between two lines the keys would be echoed. */
static void prepare(int meta_flag) {
    if (!prompt.is_prepared)
        rl_prep_terminal(meta_flag);
    prompt.is_prepared = true;
}

static void keep_prepared(void) {}

static void restore(void) {
    if (!prompt.is_prepared)
        return;
    rl_deprep_terminal();
    (void)fflush(rl_outstream);
    prompt.is_prepared = false;
}

/* ---- what is entered --------------------------------------------------------------------------------- */

static void on_line(char *line) {
    prompt.has_ended = true;
    prompt.entered = line;
    prompt.is_installed = false;
    prompt.state = HIDDEN;
    rl_callback_handler_remove();
}

static void write_text(const char *text, size_t len) {
    (void)fwrite(text, 1, len, rl_outstream);
    (void)fflush(rl_outstream);
}

/* ---- what is typed ----------------------------------------------------------------------------------- */

/* Read by us, and not by readline: the terminal's answers are among it. */
static struct {
    char bytes[4096];
    size_t at, len;
    bool is_over;
    bool is_ahead; /* what is read next was typed before the terminal gave single keys */
} typed = {.is_ahead = true};

/* Reads what there is; waits for something if there is nothing. */
static void read_more(void) {
    if (typed.at > 0) {
        memmove(typed.bytes, typed.bytes + typed.at, typed.len - typed.at);
        typed.len -= typed.at;
        typed.at = 0;
    }
    if (typed.len == sizeof typed.bytes)
        return;
    ssize_t n = read(STDIN_FILENO, typed.bytes + typed.len, sizeof typed.bytes - typed.len);
    /* There the kernel has taken Ctrl-D for an end, of which it leaves a NUL. */
    for (ssize_t i = 0; typed.is_ahead && i < n; i++)
        if (typed.bytes[typed.len + (size_t)i] == '\0')
            typed.bytes[typed.len + (size_t)i] = '\004';
    typed.is_ahead = false;
    if (n > 0)
        typed.len += (size_t)n;
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        typed.is_over = true;
}

static bool is_readable(void) {
    struct pollfd pollfd = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&pollfd, 1, 0) > 0;
}

static bool has_typed(void) {
    return typed.at < typed.len || typed.is_over;
}

/* For readline, which asks whether a key sequence goes on. */
static int has_input(void) {
    return has_typed() || is_readable();
}

static int next_byte(FILE *file) {
    (void)file;
    while (!has_typed())
        read_more();
    return typed.at < typed.len ? (unsigned char)typed.bytes[typed.at++] : EOF;
}

/* ---- a change of size -------------------------------------------------------------------------------- */

static struct {
    int n_asked;     /* answers that are to come */
    int n_late;      /* and those that nobody waits for any more */
    int old_columns; /* when the line was drawn last */
} resizing;

/* Where the cursor is, counted from the beginning of the prompt. */
static void locate(const char *text, size_t len, int columns, int *row, int *column) {
    mbstate_t state;
    memset(&state, 0, sizeof state);
    for (size_t i = 0; i < len;) {
        wchar_t wide;
        size_t n = mbrtowc(&wide, text + i, len - i, &state);
        int width = n == 0 || n > len ? 1 : wide < L' ' || wide == 0x7f ? 2 : wcwidth(wide);
        i += n == 0 || n > len ? 1 : n;
        if (*column + width > columns || text[i - 1] == '\n') {
            (*row)++;
            *column = 0;
        }
        if (text[i - 1] != '\n' && width > 0)
            *column += width;
        if (*column == columns) {
            (*row)++;
            *column = 0;
        }
    }
}

static void locate_cursor(int columns, int *row, int *column) {
    *row = *column = 0;
    locate(prompt.text, strlen(prompt.text), columns, row, column);
    locate(rl_line_buffer, (size_t)rl_point, columns, row, column);
}

/* The line is drawn anew. `column`: of the cursor as the terminal says, 0: it has not said. */
static void settle(int column) {
    int cut_row, cut_column, row, rows, columns;
    locate_cursor(resizing.old_columns, &cut_row, &cut_column);
    resizing.n_asked = 0;
    rl_reset_screen_size();
    rl_get_screen_size(&rows, &columns);
    int wrapped_row, wrapped_column;
    locate_cursor(columns, &wrapped_row, &wrapped_column);
    if (cut_column >= columns)
        cut_column = columns - 1;
    bool may_be_cut = column == 0 || column == cut_column + 1;
    bool may_be_wrapped = column != 0 && column == wrapped_column + 1;
    row = may_be_wrapped && (!may_be_cut || wrapped_row < cut_row) ? wrapped_row : cut_row;
    (void)fputc('\r', rl_outstream);
    if (row > 0)
        (void)fprintf(rl_outstream, "\033[%dA", row);
    (void)fputs("\033[J", rl_outstream);
    rl_set_prompt(prompt.text);
    rl_forced_update_display();
    (void)fflush(rl_outstream);
}

static void settle_unanswered(void) {
    if (resizing.n_asked == 0)
        return;
    resizing.n_late += resizing.n_asked;
    settle(0);
}

/* Takes an answer, ESC [ row ; column R, out of what was typed. */
static void take_answer(void) {
    for (size_t i = typed.at; resizing.n_asked + resizing.n_late > 0 && i + 5 < typed.len; i++) {
        char answer[16];
        size_t len = typed.len - i < sizeof answer - 1 ? typed.len - i : sizeof answer - 1;
        memcpy(answer, typed.bytes + i, len);
        answer[len] = '\0';
        int row, column, n_read = 0;
        if (sscanf(answer, "\033[%d;%dR%n", &row, &column, &n_read) != 2 || n_read == 0)
            continue;
        memmove(typed.bytes + i, typed.bytes + i + n_read, typed.len - i - (size_t)n_read);
        typed.len -= (size_t)n_read;
        if (resizing.n_late > 0)
            resizing.n_late--;
        else if (resizing.n_asked == 1)
            settle(column);
        else
            resizing.n_asked--;
        i = typed.at - 1;
    }
}

/* Whether what was typed ends in the beginning of an answer. */
static bool is_answer_begun(void) {
    size_t i = typed.len;
    while (i > typed.at && memchr("0123456789;", typed.bytes[i - 1], 11) != NULL)
        i--;
    if (i > typed.at && typed.bytes[i - 1] == '[')
        i--;
    else if (i < typed.len)
        return false;
    return resizing.n_asked + resizing.n_late > 0 && i > typed.at && typed.bytes[i - 1] == '\033';
}

/* ---- completion -------------------------------------------------------------------------------------- */

/* Whether the cursor is inside a string of Lua, as far as the line tells. */
static char open_quote(void) {
    char quote = '\0';
    for (int i = 0; i < rl_point; i++) {
        char c = rl_line_buffer[i];
        if (quote != '\0' && c == '\\')
            i++;
        else if (c == quote)
            quote = '\0';
        else if (quote == '\0' && (c == '"' || c == '\''))
            quote = c;
    }
    return quote;
}

/* Names in etcd hold every character but the quote. */
static char *word_breaks(void) {
    static char in_string[] = "\"'", in_code[] = " \t\n\"'`@$><=;|&{}()[],+-*/%^#~";
    return open_quote() != '\0' ? in_string : in_code;
}

static char **matches_from(lua_State *L, int index) {
    size_t n = lua_rawlen(L, index);
    if (n == 0)
        return NULL;
    char **matches = calloc(n + 2, sizeof *matches);
    size_t n_common = 0;
    for (size_t i = 1; matches != NULL && i <= n; i++) {
        lua_rawgeti(L, index, (lua_Integer)i);
        const char *match = luaL_tolstring(L, -1, NULL);
        matches[i] = strdup(match);
        size_t same = 0;
        while (i > 1 && same < n_common && match[same] == matches[1][same])
            same++;
        n_common = i == 1 ? strlen(match) : same;
        lua_pop(L, 2);
    }
    if (matches != NULL)
        matches[0] = n == 1 ? strdup(matches[1]) : strndup(matches[1], n_common);
    if (n == 1 && matches != NULL) {
        free(matches[1]);
        matches[1] = NULL;
    }
    return matches;
}

/* complete(line up to the cursor, word, quote or "") -> list of words in its place. readline must not see an error. */
static char **complete(const char *word, int start, int end) {
    lua_State *L = prompt.L;
    (void)start;
    rl_attempted_completion_over = 1;
    rl_completion_append_character = '\0';
    rl_completion_suppress_append = 1;
    if (L == NULL || prompt.complete_ref == LUA_NOREF)
        return NULL;
    int top = lua_gettop(L);
    char quote[2] = {open_quote(), '\0'};
    char **matches = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, prompt.complete_ref);
    lua_pushlstring(L, rl_line_buffer, (size_t)end);
    lua_pushstring(L, word);
    lua_pushstring(L, quote);
    if (lua_pcall(L, 3, 1, 0) == LUA_OK && lua_istable(L, -1))
        matches = matches_from(L, lua_gettop(L));
    lua_settop(L, top);
    return matches;
}

static bool is_blank_before_cursor(void) {
    for (int i = 0; i < rl_point; i++)
        if (rl_line_buffer[i] != ' ' && rl_line_buffer[i] != '\t')
            return false;
    return true;
}

/* The indentation of a line, and tabs in what is pasted, stay tabs. */
static int on_tab(int count, int key) {
    if (is_blank_before_cursor() || typed.at < typed.len)
        return rl_insert(count, key);
    return rl_complete(count, key);
}

/* ---- the module -------------------------------------------------------------------------------------- */

static void check_open(lua_State *L) {
    if (prompt.state == CLOSED)
        (void)luaL_error(L, "the prompt is not open");
}

/* open(file of the terminal, complete) */
static int l_open(lua_State *L) {
    luaL_Stream *terminal = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (prompt.state != CLOSED)
        return luaL_error(L, "the prompt is open already");
    lua_settop(L, 2);
    prompt.complete_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    rl_readline_name = "lunarch";
    rl_instream = stdin;
    rl_getc_function = next_byte;
    rl_input_available_hook = has_input;
    rl_outstream = terminal->f;
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_prep_term_function = prepare;
    rl_deprep_term_function = keep_prepared;
    rl_attempted_completion_function = complete;
    rl_completion_word_break_hook = word_breaks;
    rl_completion_query_items = 0;
    (void)rl_bind_key('\t', on_tab);
    (void)rl_variable_bind("page-completions", "off");
    (void)rl_variable_bind("show-all-if-ambiguous", "on");
    using_history();
    stifle_history(HISTORY_LINES);
    prompt.state = HIDDEN;
    return 0;
}

static void set_text(const char *text) {
    char *copy = strdup(text);
    if (copy == NULL)
        return;
    free(prompt.text);
    prompt.text = copy;
}

/* show([prompt]): below what was written, with what was typed so far */
static int l_show(lua_State *L) {
    check_open(L);
    if (!lua_isnoneornil(L, 1))
        set_text(luaL_checkstring(L, 1));
    settle_unanswered();
    const char *text = prompt.text != NULL ? prompt.text : "> ";
    if (!prompt.is_installed) {
        prompt.is_installed = true;
        rl_callback_handler_install(text, on_line);
    } else {
        rl_set_prompt(text);
        if (prompt.state != SHOWN)
            rl_forced_update_display();
        else
            rl_redisplay();
    }
    prompt.state = SHOWN;
    (void)fflush(rl_outstream);
    return 0;
}

/* hide(): takes the line off the terminal; the cursor stands where it began */
static int l_hide(lua_State *L) {
    check_open(L);
    settle_unanswered();
    if (prompt.state == SHOWN) {
        rl_clear_visible_line();
        (void)fflush(rl_outstream);
        prompt.state = HIDDEN;
    }
    return 0;
}

/* write(text): while the line is hidden */
static int l_write(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    check_open(L);
    write_text(text, len);
    return 0;
}

/* read() -> the line that was entered; false: the end of input; nil: not yet. Does not wait. */
static int l_read(lua_State *L) {
    check_open(L);
    if (!prompt.is_installed)
        return 0;
    prompt.has_ended = false;
    prompt.L = L;
    if (is_readable())
        read_more();
    take_answer();
    while (!prompt.has_ended && resizing.n_asked == 0 && !is_answer_begun() && has_input())
        rl_callback_read_char();
    prompt.L = NULL;
    (void)fflush(rl_outstream);
    if (!prompt.has_ended)
        return 0;
    if (prompt.entered == NULL) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_pushstring(L, prompt.entered);
    free(prompt.entered);
    prompt.entered = NULL;
    return 1;
}

/* discard(): what was typed so far is left above, and forgotten */
static int l_discard(lua_State *L) {
    check_open(L);
    if (!prompt.is_installed)
        return 0;
    settle_unanswered();
    rl_free_line_state();
    rl_callback_sigcleanup();
    rl_point = rl_end;
    rl_redisplay();
    write_text("^C\r\n", 4);
    rl_replace_line("", 1);
    rl_point = 0;
    prompt.is_installed = false;
    prompt.state = HIDDEN;
    rl_callback_handler_remove();
    return 0;
}

/* resize() -> whether settle() has to be called soon: the terminal has another size */
static int l_resize(lua_State *L) {
    check_open(L);
    if (prompt.state != SHOWN) {
        rl_reset_screen_size();
        return 0;
    }
    int rows;
    if (resizing.n_asked == 0)
        rl_get_screen_size(&rows, &resizing.old_columns);
    resizing.n_asked++;
    write_text("\033[6n", 4);
    lua_pushboolean(L, 1);
    return 1;
}

/* settle(): a terminal that has not answered until now does not */
static int l_settle(lua_State *L) {
    check_open(L);
    settle_unanswered();
    return 0;
}

/* has_more() -> whether something was typed that read() has not looked at yet */
static int l_has_more(lua_State *L) {
    lua_pushboolean(L, has_typed());
    return 1;
}

/* typed() -> what was typed so far */
static int l_typed(lua_State *L) {
    lua_pushstring(L, prompt.is_installed && rl_line_buffer != NULL ? rl_line_buffer : "");
    return 1;
}

/* release(): the terminal as we found it, for another program; the next show() takes it again */
static int l_release(lua_State *L) {
    check_open(L);
    restore();
    return 0;
}

/* resume(): after release(), or after the process was stopped and goes on */
static int l_resume(lua_State *L) {
    check_open(L);
    prompt.is_prepared = false;
    prepare(1);
    return 0;
}

/* load_history(path) */
static int l_load_history(lua_State *L) {
    history_comment_char = '#';
    history_write_timestamps = 1;
    (void)read_history(luaL_checkstring(L, 1));
    return 0;
}

/* remember(text[, path]): in the history, and at the end of the file */
static int l_remember(lua_State *L) {
    const char *text = luaL_checkstring(L, 1);
    const char *path = luaL_optstring(L, 2, NULL);
    HIST_ENTRY *last = history_length > 0 ? history_get(history_base + history_length - 1) : NULL;
    if (last != NULL && strcmp(last->line, text) == 0)
        return 0;
    add_history(text);
    if (path != NULL)
        (void)append_history(1, path);
    return 0;
}

/* close([history path]) */
static int l_close(lua_State *L) {
    const char *path = luaL_optstring(L, 1, NULL);
    if (prompt.state == CLOSED)
        return 0;
    if (prompt.is_installed)
        rl_callback_handler_remove();
    prompt.is_installed = false;
    restore();
    prompt.state = CLOSED;
    if (path != NULL)
        (void)history_truncate_file(path, HISTORY_LINES);
    return 0;
}

int luaopen_lunarch_prompt(lua_State *L);

int luaopen_lunarch_prompt(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"open", l_open},
        {"show", l_show},
        {"hide", l_hide},
        {"write", l_write},
        {"read", l_read},
        {"discard", l_discard},
        {"resize", l_resize},
        {"settle", l_settle},
        {"typed", l_typed},
        {"has_more", l_has_more},
        {"release", l_release},
        {"resume", l_resume},
        {"load_history", l_load_history},
        {"remember", l_remember},
        {"close", l_close},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    /* However the program ends, the terminal is as it was. */
    (void)atexit(restore);
    return 1;
}
