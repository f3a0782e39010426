/*
 * Named points at which a test lets the program fail: what a crash between two steps leaves behind is tested at that very point,
 * never by a sleep. BOOKCART_FAULTS is a list like `payment.provider-told=kill, payment.settled=kill@3, mail.sent=fail`: the point,
 * what happens there, and at which passage (the first unless it says so; `*`: at every one).
 *
 * `armed:/DIR` in the list: a point is armed while DIR/<point> is there, a file that says `kill` or `fail`; it is removed when the point is
 * passed, so a program that is started again does not end there again, and one shop can be killed at one point after the other.
 *
 * The setting is refused unless every listener is on loopback. Without it a point costs one load and one branch.
 */
#ifndef BC_FAULT_H
#define BC_FAULT_H

#include "platform/bc_config.h"

#include <stdbool.h>

#define BC_FAULTS_MAX     16
#define BC_FAULT_NAME_MAX 48
#define BC_FAULT_PATH_MAX 512

/* Reads the setting. false: *reason says what is wrong with it. Once per process, before threads. */
bool bc_fault_init(const char *setting, char reason[BC_CONFIG_REASON_BYTES]);

/* Passes a point. `kill`: the process ends here by SIGKILL and nothing is flushed. true: `fail`, the caller behaves as if the step
 * that follows had failed. The name is a literal. Any thread. */
bool bc_fault(const char *name);

#endif
