/*
 * `bookcart routes` and `bookcart problems`: the tables that the program works by, one row a line with tabs between. Tests compare them
 * with api/openapi.yaml, tools/api-pages makes the pages of docs/ from them. Only what the public can reach is printed.
 */
#include "program.h"

#include "edge/edge_problem.h"
#include "edge/edge_routes.h"
#include "platform/bc_problem.h"
#include "services/auth/auth.h"
#include "services/library/library.h"
#include "services/payment/payment.h"
#include "services/question/question.h"

#include <assert.h>
#include <string.h>

/* As `x-callers` of the contract says it. */
static const char *callers(bc_access_t access) {
    switch (access) {
    case BC_ANYONE:
        return "anyone";
    case BC_GUEST:
        return "guest";
    case BC_CUSTOMER:
        return "customer";
    case BC_OWNER:
        return "owner";
    case BC_ADMIN:
        return "admin";
    case BC_INTERNAL:
    case BC_OPS:
        break;
    }
    assert(!"an internal route in a public table");
    return "";
}

int program_routes(FILE *out) {
    static const bc_service_t *const services[] = {&auth_service, &library_service, &payment_service,
                                                   &question_service};
    for (size_t i = 0; i < EDGE_ROUTES; i++) {
        const char *at = edge_routes[i].allow;
        while (*(at += strspn(at, ", ")) != '\0') {
            int length = (int)strcspn(at, ", ");
            if (strncmp(at, "HEAD", 4) != 0) /* comes with GET */
                fprintf(out, "cart\t%.*s\t%s\t%s\n", length, at, edge_routes[i].path, callers(BC_GUEST));
            at += length;
        }
    }
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        for (const bc_route_t *route = services[i]->routes; route->method != NULL; route++)
            fprintf(out, "%s\t%s\t%s\t%s\n", services[i]->name, route->method, route->path, callers(route->access));
    }
    return fflush(out) == 0 ? 0 : 1;
}

static bool service_has(const char *name) {
    const bc_problem_t *problem = NULL;
    for (size_t i = 0; (problem = bc_problem_at(i)) != NULL; i++) {
        if (strcmp(problem->name, name) == 0) return true;
    }
    return false;
}

typedef struct {
    const char *name;
    int status;
    const char *titles[BC_LANGUAGE_COUNT];
} problem_t;

/* The services' table, then what only the edge answers; NULL name: the end. */
static problem_t problem_at(size_t index) {
    const bc_problem_t *problem = NULL;
    for (size_t i = 0; (problem = bc_problem_at(i)) != NULL; i++) {
        if (index-- == 0)
            return (problem_t){problem->name,
                               problem->status,
                               {problem->titles[BC_EN], problem->titles[BC_FR], problem->titles[BC_BG]}};
    }
    for (edge_problem_t i = 0; i < EDGE_PROBLEMS; i++) {
        if (!service_has(edge_problem_name(i)) && index-- == 0)
            return (problem_t){
                edge_problem_name(i),
                (int)edge_problem_status(i),
                {edge_problem_title(i, EDGE_EN), edge_problem_title(i, EDGE_FR), edge_problem_title(i, EDGE_BG)}};
    }
    return (problem_t){.name = NULL};
}

int program_problems(FILE *out) {
    problem_t problem;
    for (size_t i = 0; (problem = problem_at(i)).name != NULL; i++) {
        fprintf(out, "%s\t%d\t%s\t%s\t%s\n", problem.name, problem.status, problem.titles[BC_EN], problem.titles[BC_FR],
                problem.titles[BC_BG]);
    }
    return fflush(out) == 0 ? 0 : 1;
}

/* Our own titles: none has a quote, a backslash or a dollar sign in it (test_contract.py asks for every page). */
void program_problem_map(FILE *out) {
    problem_t problem;
    fputs("    map $uri $problem_page {\n        default \"\";\n", out);
    for (size_t i = 0; (problem = problem_at(i)).name != NULL; i++) {
        fprintf(out, "        /problems/%s \"%s (%d)\\n\\nen: %s\\nfr: %s\\nbg: %s\\n\";\n", problem.name, problem.name,
                problem.status, problem.titles[BC_EN], problem.titles[BC_FR], problem.titles[BC_BG]);
    }
    fputs("    }\n", out);
}
