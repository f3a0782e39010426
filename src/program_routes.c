/*
 * `bookcart routes` and `bookcart problems`: the tables that the program works by, one row a line with tabs between. Tests compare them
 * with api/openapi.yaml, tools/api-pages makes the pages of docs/ from them. `bookcart routes internal` prints what services and
 * operations reach instead: those are in no document for the public, and tests/e2e/test_statements.py asks for both.
 */
#include "program.h"

#include "edge/edge_problem.h"
#include "edge/edge_routes.h"
#include "platform/bc_problem.h"
#include "services/auth/auth.h"
#include "services/cart/cart_service.h"
#include "services/library/library.h"
#include "services/payment/payment.h"
#include "services/question/question.h"

#include <assert.h>
#include <string.h>

static const bc_service_t *const services[] = {&auth_service, &library_service, &cart_service_definition,
                                               &payment_service, &question_service};
#define SERVICES (sizeof(services) / sizeof(services[0]))

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
        return "service";
    case BC_OPS:
        return "operations";
    }
    assert(!"no such access");
    return "";
}

static bool is_internal(bc_access_t access) {
    return access == BC_INTERNAL || access == BC_OPS;
}

static void print_table(FILE *out, const char *service, const bc_route_t *routes, bool internal) {
    for (const bc_route_t *route = routes; route != NULL && route->method != NULL; route++) {
        assert(is_internal(route->access) == internal);
        fprintf(out, "%s\t%s\t%s\t%s\n", service, route->method, route->path, callers(route->access));
    }
}

int program_routes(FILE *out) {
    for (size_t i = 0; i < EDGE_ROUTES; i++) {
        const char *at = edge_routes[i].allow;
        while (*(at += strspn(at, ", ")) != '\0') {
            int length = (int)strcspn(at, ", ");
            if (strncmp(at, "HEAD", 4) != 0) /* comes with GET */
                fprintf(out, "cart\t%.*s\t%s\t%s\n", length, at, edge_routes[i].path, callers(BC_GUEST));
            at += length;
        }
    }
    for (size_t i = 0; i < SERVICES; i++) print_table(out, services[i]->name, services[i]->routes, false);
    return fflush(out) == 0 ? 0 : 1;
}

int program_internal_routes(FILE *out) {
    for (size_t i = 0; i < SERVICES; i++) {
        print_table(out, services[i]->name, bc_service_routes, true);
        print_table(out, services[i]->name, services[i]->internal_routes, true);
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
