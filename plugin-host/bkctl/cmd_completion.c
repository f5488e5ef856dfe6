/*
 * bkctl completion: scripts for bash, zsh and fish.
 *
 * Verbs and flags are put in from the same tables that parse them; names of
 * pools and workers, ids of allocations are asked for when TAB is pressed,
 * briefly and in silence.
 */

#include <string.h>

#include "bkctl.h"


static void bk_completion_bash(void);
static void bk_completion_bash_flags(const bk_verb_t *v);
static void bk_completion_zsh(void);
static void bk_completion_fish(void);
static const char *bk_completion_kind(const bk_flag_t *f);
static const char *bk_completion_words(const bk_flag_t *f);
static void bk_completion_quoted(const char *s, const char *escape);


#define BK_COMPLETION_OIDC   "github"
#define BK_COMPLETION_CA     "gateway worker"
#define BK_COMPLETION_VERBS  "allocate wake release revoke drain list certs "  \
                             "admin"


int
bk_cmd_completion(const bk_args_t *args)
{
    const char  *shell = args->argv[0];

    if (strcmp(shell, "bash") == 0) {
        bk_completion_bash();

    } else if (strcmp(shell, "zsh") == 0) {
        bk_completion_zsh();

    } else if (strcmp(shell, "fish") == 0) {
        bk_completion_fish();

    } else {
        return bk_args_usage(args->verb, "there is no completion for "
                             "\"%s\"", shell);
    }

    return BK_EXIT_OK;
}


/* What a flag's value is: a list of the API, "file", "dir", "words" or "". */

static const char *
bk_completion_kind(const bk_flag_t *f)
{
    if (strcmp(f->name, "pool") == 0) {
        return "pools";
    }

    if (strcmp(f->name, "worker") == 0) {
        return "workers";
    }

    if (strcmp(f->name, "allocation") == 0) {
        return "allocations";
    }

    if (strcmp(f->name, "out") == 0) {
        return "dir";
    }

    if (strcmp(f->name, "oidc") == 0 || strcmp(f->name, "verb") == 0
        || strcmp(f->name, "authority") == 0)
    {
        return "words";
    }

    return strcmp(f->name, "table") == 0 || strcmp(f->name, "token-file") == 0
           ? "file" : "";
}


static const char *
bk_completion_words(const bk_flag_t *f)
{
    if (strcmp(f->name, "authority") == 0) {
        return BK_COMPLETION_CA;
    }

    return strcmp(f->name, "oidc") == 0 ? BK_COMPLETION_OIDC
                                        : BK_COMPLETION_VERBS;
}


static void
bk_completion_bash(void)
{
    const bk_verb_t  *v;

    printf("# bash completion for bkctl\n\n"
           "_bkctl()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} "
           "prev=${COMP_WORDS[COMP_CWORD-1]}\n"
           "    local verb=${COMP_WORDS[1]} words= i\n\n"
           "    COMPREPLY=()\n\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        COMPREPLY=($(compgen -W '");

    for (v = bk_verbs; v->name; v++) {
        printf("%s ", v->name);
    }

    printf("' -- \"$cur\"))\n        return\n    fi\n\n"
           "    for ((i = 2; i < COMP_CWORD; i++)); do\n"
           "        if [ \"${COMP_WORDS[i]}\" = -- ]; then\n"
           "            compopt -o default\n"
           "            return\n"
           "        fi\n"
           "    done\n\n"
           "    case $prev in\n"
           "    --pool) COMPREPLY=($(compgen -W \"$(bkctl pools --names "
           "2>/dev/null)\" -- \"$cur\")); return ;;\n"
           "    --worker) COMPREPLY=($(compgen -W \"$(bkctl workers --names "
           "2>/dev/null)\" -- \"$cur\")); return ;;\n"
           "    --allocation) COMPREPLY=($(compgen -W \"$(bkctl allocations "
           "--names 2>/dev/null)\" -- \"$cur\")); return ;;\n"
           "    --out) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n"
           "    --table|--token-file) COMPREPLY=($(compgen -f -- \"$cur\"));"
           " return ;;\n"
           "    --oidc) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); "
           "return ;;\n"
           "    --verb) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); "
           "return ;;\n"
           "    --authority) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); "
           "return ;;\n"
           "    --namespace|--ttl|--wait|--arch|--job-id|--cache-key|"
           "--idempotency-key|--metadata|--reason|--endpoint|--audience) "
           "return ;;\n"
           "    esac\n\n"
           "    case $verb in\n", BK_COMPLETION_OIDC, BK_COMPLETION_VERBS,
           BK_COMPLETION_CA);

    for (v = bk_verbs; v->name; v++) {
        printf("    %s) words='", v->name);
        bk_completion_bash_flags(v);
        printf("' ;;\n");
    }

    printf("    esac\n\n"
           "    case $verb:$cur in\n"
           "    *:-*) ;;\n"
           "    revoke:*|allocations:*) words=\"$(bkctl allocations --names "
           "2>/dev/null)\" ;;\n"
           "    drain:*) words=\"$(bkctl workers --names "
           "2>/dev/null)\" ;;\n"
           "    completion:*) words='bash zsh fish' ;;\n"
           "    ca:*) words='rotate retire' ;;\n"
           "    help:*) words='");

    for (v = bk_verbs; v->name; v++) {
        printf("%s ", v->name);
    }

    printf("' ;;\n"
           "    release:*|renew:*) COMPREPLY=($(compgen -f -- \"$cur\")); "
           "return ;;\n"
           "    esac\n\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "}\n\ncomplete -F _bkctl bkctl\n");
}


static void
bk_completion_bash_flags(const bk_verb_t *v)
{
    const bk_flag_t  *f;

    for (f = bk_flags; f->name; f++) {
        if (bk_args_takes(v, f)) {
            printf("--%s ", f->name);
        }
    }

    if (v->takes & BK_TAKES_COMMAND) {
        printf("--");
    }
}


static void
bk_completion_zsh(void)
{
    const char       *kind;
    const bk_flag_t  *f;
    const bk_verb_t  *v;

    printf("#compdef bkctl\n\n"
           "_bkctl_pools() { compadd -- ${(f)\"$(bkctl pools --names "
           "2>/dev/null)\"} }\n"
           "_bkctl_allocations() { compadd -- ${(f)\"$(bkctl allocations "
           "--names 2>/dev/null)\"} }\n"
           "_bkctl_workers() { compadd -- ${(f)\"$(bkctl workers --names "
           "2>/dev/null)\"} }\n"
           "_bkctl_verbs() {\n    local -a verbs\n    verbs=(\n");

    for (v = bk_verbs; v->name; v++) {
        printf("        '%s:", v->name);
        bk_completion_quoted(v->summary, ":");
        printf("'\n");
    }

    printf("    )\n    _describe verb verbs\n}\n\n"
           "_bkctl() {\n"
           "    if (( CURRENT == 2 )); then\n"
           "        _bkctl_verbs\n        return\n    fi\n\n"
           "    local verb=$words[2]\n"
           "    shift words\n    (( CURRENT-- ))\n\n"
           "    case $verb in\n");

    for (v = bk_verbs; v->name; v++) {
        printf("    %s)\n        _arguments", v->name);

        for (f = bk_flags; f->name; f++) {
            if (!bk_args_takes(v, f)) {
                continue;
            }

            printf(" \\\n            '%s--%s[",
                   strcmp(f->name, "metadata") == 0 ? "*" : "", f->name);
            bk_completion_quoted(f->help, "[]:");
            putchar(']');

            if (f->value) {
                kind = bk_completion_kind(f);
                /* [TIME]: may be left out */
                printf("%s:%s:", *f->value == '[' ? ":" : "",
                       *f->value == '[' ? "TIME" : f->value);

                if (strcmp(kind, "dir") == 0) {
                    printf("_files -/");

                } else if (strcmp(kind, "file") == 0) {
                    printf("_files");

                } else if (strcmp(kind, "words") == 0) {
                    printf("(%s)", bk_completion_words(f));

                } else if (*kind) {
                    printf("_bkctl_%s", kind);
                }
            }

            putchar('\'');
        }

        if (v->takes & BK_TAKES_COMMAND) {
            printf(" \\\n            '*::command:_normal'");

        } else if (v->takes & BK_TAKES_TOKEN) {
            printf(" \\\n            '1:file:_files'");

        } else if (v->takes & (BK_TAKES_REASON|BK_TAKES_WATCH)) {
            printf(" \\\n            '1:id:_bkctl_allocations'");

        } else if (v->takes & BK_TAKES_DRAIN) {
            printf(" \\\n            '1:worker:_bkctl_workers'");

        } else if (strcmp(v->name, "completion") == 0) {
            printf(" \\\n            '1:shell:(bash zsh fish)'");

        } else if (strcmp(v->name, "help") == 0) {
            printf(" \\\n            '1:verb:_bkctl_verbs'");
        }

        printf("\n        ;;\n");
    }

    printf("    esac\n}\n\n"
           "if [[ $funcstack[1] == _bkctl ]]; then\n"
           "    _bkctl \"$@\"\nelse\n    compdef _bkctl bkctl\nfi\n");
}


static void
bk_completion_fish(void)
{
    const char       *kind;
    const bk_flag_t  *f;
    const bk_verb_t  *v;

    printf("# fish completion for bkctl\n\ncomplete -c bkctl -f\n");

    for (v = bk_verbs; v->name; v++) {
        printf("complete -c bkctl -n __fish_use_subcommand -a %s -d '",
               v->name);
        bk_completion_quoted(v->summary, "");
        printf("'\n");
    }

    for (v = bk_verbs; v->name; v++) {
        for (f = bk_flags; f->name; f++) {
            if (!bk_args_takes(v, f)) {
                continue;
            }

            kind = bk_completion_kind(f);
            printf("complete -c bkctl -n '__fish_seen_subcommand_from %s' "
                   "-l %s", v->name, f->name);

            if (f->value && *f->value != '[') {
                if (*kind == '\0') {
                    printf(" -x");

                } else if (strcmp(kind, "dir") == 0
                           || strcmp(kind, "file") == 0)
                {
                    printf(" -r -F");

                } else if (strcmp(kind, "words") == 0) {
                    printf(" -x -a '%s'", bk_completion_words(f));

                } else {
                    printf(" -x -a '(bkctl %s --names 2>/dev/null)'", kind);
                }
            }

            printf(" -d '");
            bk_completion_quoted(f->help, "");
            printf("'\n");
        }
    }

    printf("complete -c bkctl -n '__fish_seen_subcommand_from revoke "
           "allocations' -a "
           "'(bkctl allocations --names 2>/dev/null)'\n"
           "complete -c bkctl -n '__fish_seen_subcommand_from drain' -a "
           "'(bkctl workers --names 2>/dev/null)'\n"
           "complete -c bkctl -n '__fish_seen_subcommand_from completion' "
           "-a 'bash zsh fish'\n"
           "complete -c bkctl -n '__fish_seen_subcommand_from release renew' "
           "-F\n");
}


/* Text inside single quotes; characters of escape get a backslash. */

static void
bk_completion_quoted(const char *s, const char *escape)
{
    for ( /* void */ ; *s; s++) {
        if (strchr(escape, *s)) {
            putchar('\\');
        }

        if (*s == '\'') {
            putchar(' ');

        } else {
            putchar(*s);
        }
    }
}
