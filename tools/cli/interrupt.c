/* SPDX-License-Identifier: Apache-2.0
 *
 * SIGINT and SIGTERM during `refold run`: the run that is going on is cancelled, so that the
 * command ends by its own way out, with its report and without temporary files. The second one ends
 * the process at once: whoever asks twice does not want to wait. A signal that the parent had set
 * to be ignored (nohup, a shell's background job) stays ignored.
 */
#include "tools/cli/cli.h"

#include <signal.h>
#include <stdio.h>

static volatile sig_atomic_t caught;
static rf_session *volatile target;

static void on_signal(int number)
{
    rf_session *session = target;
    caught = number;
    if (session)
        rf_session_cancel(session);
}

void cli_catch_interrupts(void)
{
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        struct sigaction old, mine = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
        sigemptyset(&mine.sa_mask);
        if (!sigaction(signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &mine, NULL);
    }
}

void cli_cancel_on_interrupt(rf_session *session)
{
    target = session;
}

int cli_interrupted(void)
{
    return caught ? 128 + caught : 0;
}

rf_status cli_run(rf_session *session, const rf_tensor *inputs, int n_in, const rf_tensor *outputs,
                  int n_out, rf_error *err)
{
    if (caught) { /* between two runs nobody hears a cancel */
        *err = (rf_error){.code = RF_ERR_CANCELLED, .text = "cancelled"};
        return err->code;
    }
    return rf_session_run(session, inputs, n_in, outputs, n_out, err);
}
