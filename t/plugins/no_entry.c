/* A shared object that is no plugin. */

int no_entry_at_all(void);


__attribute__((visibility("default")))
int
no_entry_at_all(void)
{
    return 0;
}
